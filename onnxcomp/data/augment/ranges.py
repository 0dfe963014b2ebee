"""What an operation's level means: the ranges of each publication.

- AutoAugment on CIFAR-10: the authors' github.com/tensorflow/models, research/autoaugment/
  augmentation_transforms.py. Levels 0 to 10, shifts up to 10 pixels of 32, whole degrees.
- AutoAugment on ImageNet: table 6 of arXiv 1805.09501, levels 0 to 10 spread evenly over each range, as
  timm's policy "original" reads it. Shifts up to 150 pixels of 331. A higher level keeps more bits and
  inverts less.
- Fast AutoAugment: github.com/kakaobrain/fast-autoaugment, FastAutoAugment/augmentations.py. Levels 0 to
  1; shifts and squares are parts of the side.
- RandAugment: torchvision.transforms.RandAugment (levels 0 to 30 of Cubuk et al., 2020); 0 changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Magnitudes of an operation.

    Attributes:
        low: at level 0.
        high: at the highest level.
        mirrored: the magnitude's sign is drawn.
        side: image side in pixels that the magnitude is stated for, where it grows with the image.
        whole: makes the distance from ``low`` a whole number, where published so.
        centre: what the magnitude, with its sign, is added to.
    """

    low: float = 0.0
    high: float = 0.0
    mirrored: bool = False
    side: float | None = None
    whole: Callable[[float], float] = float
    centre: float = 0.0

    def value(self, part: float, side: int, sign: float) -> float:
        """What the operation is called with.

        Args:
            part: level, from 0 to 1.
            side: of the image along the operation's direction, in pixels.
            sign: number of [0, 1); from one half on, a mirrored magnitude is negative.
        """
        scale = 1.0 if self.side is None else side / self.side
        magnitude = self.low * scale + self.whole(part * (self.high - self.low) * scale)
        return self.centre + (-magnitude if self.mirrored and sign >= 0.5 else magnitude)


Ranges = Mapping[str, Range]


def _both(name: str, range_: Range) -> dict[str, Range]:
    return {f"{name}X": range_, f"{name}Y": range_}


def _all(range_: Range) -> dict[str, Range]:
    return dict.fromkeys(("Contrast", "Color", "Brightness", "Sharpness"), range_)


_PLAIN = dict.fromkeys(("AutoContrast", "Equalize", "Invert"), Range())


def _truncated(value: float) -> float:
    # Published as int(level * span / 10) of whole levels, where no product falls short of a whole number.
    return float(int(value + (1e-9 if value > 0 else -1e-9)))


AUTOAUGMENT_CIFAR10: Ranges = {
    **_PLAIN,
    **_both("Shear", Range(0, 0.3, mirrored=True)),
    **_both("Translate", Range(0, 10, mirrored=True, side=32, whole=_truncated)),
    "Rotate": Range(0, 30, mirrored=True, whole=_truncated),
    "Solarize": Range(256, 0, whole=_truncated),
    "Posterize": Range(4, 0, whole=_truncated),
    **_all(Range(0.1, 1.9)),
}

AUTOAUGMENT_IMAGENET: Ranges = {
    **_PLAIN,
    **_both("Shear", Range(0, 0.3, mirrored=True)),
    **_both("Translate", Range(0, 150, mirrored=True, side=331)),
    "Rotate": Range(0, 30, mirrored=True),
    "Solarize": Range(0, 256, whole=_truncated),
    "Posterize": Range(4, 8, whole=_truncated),
    **_all(Range(0.1, 1.9)),
}

FAST_AUTOAUGMENT: Ranges = {
    **_PLAIN,
    **_both("Shear", Range(-0.3, 0.3, mirrored=True)),
    **_both("Translate", Range(-0.45, 0.45, mirrored=True, side=1)),
    "Rotate": Range(-30, 30, mirrored=True),
    "Solarize": Range(0, 256),
    "Posterize": Range(4, 8, whole=_truncated),
    **_all(Range(0.1, 1.9)),
    "Cutout": Range(0, 0.2, side=1),
}

RANDAUGMENT: Ranges = {
    "Identity": Range(),
    **_both("Shear", Range(0, 0.3, mirrored=True)),
    **_both("Translate", Range(0, 150, mirrored=True, side=331, whole=_truncated)),
    "Rotate": Range(0, 30, mirrored=True),
    **_all(Range(0, 0.9, mirrored=True, centre=1.0)),
    "Posterize": Range(8, 4, whole=round),
    "Solarize": Range(255, 0),
    "AutoContrast": Range(),
    "Equalize": Range(),
}
