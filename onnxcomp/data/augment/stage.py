"""What an augmentation is made of: stages, each changing the images of a batch, one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from onnxcomp.errors import DataError

Images = NDArray[np.uint8]
Draws = NDArray[np.float64]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Setting:
    """What a stage needs to know of the data.

    Attributes:
        mean: RGB of what becomes zero in the network's input, rounded to 0..255.
        flip: a mirrored image still shows its class.
    """

    mean: Colour
    flip: bool


class Stage(Protocol):
    """One augmentation: a frozen dataclass whose fields are its options.

    An image's result depends on the image, its row of ``draws`` and the setting alone.
    """

    @property
    def name(self) -> str:
        """As in the text form."""
        ...

    @property
    def draws(self) -> int:
        """Random numbers that it takes for each image."""
        ...

    def apply(self, images: Images, draws: Draws, setting: Setting) -> Images:
        """Augment (B, H, W, 3), which may be overwritten, with numbers of [0, 1) of shape (B, draws)."""
        ...


def check_range(stage: str, option: str, value: float, low: float, high: float, *, whole: bool) -> None:
    """Refuse an option that is no number of low..high.

    Raises:
        DataError: names the stage, the option and its range.
    """
    fits = not isinstance(value, bool) and isinstance(value, int if whole else int | float)
    if not fits or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise DataError(
            f"{option} is {value!r}, not {kind} from {low} to {high}", where=stage, fix=f"set {option} anew"
        )
