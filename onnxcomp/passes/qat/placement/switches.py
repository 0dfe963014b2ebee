"""What the user may ask of a placement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ConcatMode = Literal["shared", "each", "none"]


@dataclass(frozen=True)
class Switches:
    """Which operators are quantised where there is a choice.

    Attributes:
        concat: inputs of a Concat of channels get one scale together with all Concats that they meet
            (``shared``), one each (``each``), or no Q/DQ for its sake (``none``).
        residual: the identity input of a residual Add.
        pooling: average pooling, on both sides.
        pre_activation: the input of a BatchNormalization that no convolution precedes.
        first: layers with no other one between them and the image.
        last: the layer with no other one between it and the logits.
        depthwise: convolutions with one input channel per group.
        tiny: convolutions with fewer than 16 input or output channels.
        exclude: patterns of weight or node names that stay float.
    """

    concat: ConcatMode = "none"
    residual: bool = True
    pooling: bool = True
    pre_activation: bool = False
    first: bool = True
    last: bool = True
    depthwise: bool = True
    tiny: bool = True
    exclude: tuple[str, ...] = ()
