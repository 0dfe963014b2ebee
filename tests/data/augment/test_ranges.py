from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.data.augment.operations import OPERATIONS
from onnxcomp.data.augment.ranges import (
    AUTOAUGMENT_CIFAR10,
    AUTOAUGMENT_IMAGENET,
    FAST_AUTOAUGMENT,
    RANDAUGMENT,
    Range,
)

ENHANCEMENTS = ("Contrast", "Color", "Brightness", "Sharpness")
PUBLISHED = {
    # Operation: value by level of 0..10 on 32 pixels, as in the authors' augmentation_transforms.py.
    "ShearX": [level * 0.3 / 10 for level in range(11)],
    "ShearY": [level * 0.3 / 10 for level in range(11)],
    "TranslateX": list(range(11)),
    "TranslateY": list(range(11)),
    "Rotate": [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30],
    "Solarize": [256, 231, 205, 180, 154, 128, 103, 77, 52, 26, 0],
    "Posterize": [4, 4, 4, 3, 3, 2, 2, 2, 1, 1, 0],
    **{name: [0.1 + level * 0.18 for level in range(11)] for name in ENHANCEMENTS},
}
PAPER = {
    # Even steps over the ranges of table 6, whole numbers rounded down; 32 of 331 pixels.
    **{name: PUBLISHED[name] for name in ("ShearX", "ShearY", "Rotate", *ENHANCEMENTS)},
    "TranslateX": [level * 15 * 32 / 331 for level in range(11)],
    "TranslateY": [level * 15 * 32 / 331 for level in range(11)],
    "Solarize": [0, 25, 51, 76, 102, 128, 153, 179, 204, 230, 256],
    "Posterize": [4, 4, 4, 5, 5, 6, 6, 6, 7, 7, 8],
}
FAST = {
    "ShearX": np.linspace(-0.3, 0.3, 11),
    "ShearY": np.linspace(-0.3, 0.3, 11),
    "TranslateX": np.linspace(-0.45, 0.45, 11) * 32,
    "TranslateY": np.linspace(-0.45, 0.45, 11) * 32,
    "Rotate": np.linspace(-30, 30, 11),
    "Solarize": np.linspace(0, 256, 11),
    "Posterize": PAPER["Posterize"],
    "Cutout": np.linspace(0, 0.2, 11) * 32,
    **{name: PUBLISHED[name] for name in ENHANCEMENTS},
}
RAND = {
    # Every third of torchvision's 31 bins.
    "ShearX": np.linspace(0, 0.3, 11),
    "ShearY": np.linspace(0, 0.3, 11),
    "TranslateX": [0, 1, 2, 4, 5, 7, 8, 10, 11, 13, 14],
    "TranslateY": [0, 1, 2, 4, 5, 7, 8, 10, 11, 13, 14],
    "Rotate": np.linspace(0, 30, 11),
    "Solarize": np.linspace(255, 0, 11),
    "Posterize": [8, 8, 7, 7, 6, 6, 6, 5, 5, 4, 4],
    **{name: np.linspace(1, 1.9, 11) for name in ENHANCEMENTS},
}
TABLES = [
    (AUTOAUGMENT_CIFAR10, PUBLISHED),
    (AUTOAUGMENT_IMAGENET, PAPER),
    (FAST_AUTOAUGMENT, FAST),
    (RANDAUGMENT, RAND),
]


@pytest.mark.parametrize(("ranges", "expected"), TABLES, ids=["cifar10", "imagenet", "fast", "rand"])
def test_values_by_level(ranges, expected):
    assert set(ranges) - set(expected) == {"AutoContrast", "Equalize"} | (
        set(ranges) & {"Invert", "Identity"}
    )
    for name, values in expected.items():
        found = [ranges[name].value(level / 10, 32, 0.0) for level in range(11)]
        # Doubles, added up in another order.
        np.testing.assert_allclose(found, values, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(("ranges", "expected"), TABLES)
def test_the_sign_is_drawn_where_a_direction_has_two(ranges, expected):
    for name in expected:
        range_ = ranges[name]
        one, other = (range_.value(0.7, 32, sign) - range_.centre for sign in (0.4999, 0.5))
        directed = name.startswith(("Shear", "Translate", "Rotate"))
        mirrored = directed or (ranges is RANDAUGMENT and name in ENHANCEMENTS)
        assert one == pytest.approx(-other if mirrored else other, rel=1e-12)
        assert one != 0


@pytest.mark.parametrize(("ranges", "count"), [(RANDAUGMENT, 14), (FAST_AUTOAUGMENT, 15)])
def test_the_operations_of_a_publication(ranges, count):
    assert len(ranges) == count
    assert set(ranges) <= set(OPERATIONS)


def test_shifts_grow_with_the_image():
    range_ = Range(0, 10, mirrored=True, side=32)
    assert [range_.value(0.5, side, 0.0) for side in (32, 64, 224)] == [5, 10, 35]
