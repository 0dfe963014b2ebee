"""What is asked of an engine, whatever builds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Wish:
    """What the user may choose.

    Attributes:
        batch: images at once, where the file leaves it free.
        shapes: of inputs whose other dimensions are free too, by name.
        fp16: let layers that are not INT8 run in FP16.
        sparse: try kernels for 2:4 sparse weights.
        tf32: let float32 layers use TF32, where the hardware has it.
        dla_core: which DLA; None for the GPU.
        workspace: most scratch memory of a layer, MiB; None for all there is.
        optimization_level: 0 to 5; None for TensorRT's own (3).
    """

    batch: int = 1
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    fp16: bool = True
    sparse: bool = False
    tf32: bool = True
    dla_core: int | None = None
    workspace: int | None = None
    optimization_level: int | None = None
