"""What an architecture is: enough to write one network of a family as ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import onnx

STEMS = ("imagenet", "cifar")

# Far above any use, and below the 2 GiB that one protobuf message holds.
MAX_CLASSES = 100_000
MAX_INPUT_SIZE = 8192


class Architecture(Protocol):
    """One network of a family, without its weights: a frozen dataclass that derives from this."""

    @property
    def stem(self) -> str:
        """The stem the network is known with, one of :data:`STEMS`."""

    @property
    def stems(self) -> tuple[str, ...]:
        """The stems it can be built with."""
        return STEMS

    @property
    def input_unit(self) -> int:
        """The input size is a multiple of it."""
        return 1

    def smallest_input(self, stem: str) -> int:
        """Height and width in pixels below which a pooling has nothing left to pool."""

    def proto(self, name: str, *, num_classes: int, input_size: int, stem: str, seed: int) -> onnx.ModelProto:
        """The network with random weights; arguments as for :func:`onnxcomp.models.build`."""
