"""A data set of random pictures in memory or in an .npz, for tests that need some and no learning."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from onnxcomp.data import ImageSet
from onnxcomp.model import Model, Preprocessing, from_proto
from tests import zoo

NORMAL = Preprocessing((120.0, 125.0, 130.0), (60.0, 61.0, 62.0))


def pictures(count: int = 23, *, classes: int = 10, size: int = 16, seed: int = 0) -> ImageSet:
    """Random uint8 images with random labels."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    names = tuple(f"class{index}" for index in range(classes))
    return ImageSet.from_arrays(pixels, rng.integers(0, classes, count), names)


def normalised(images: ImageSet) -> np.ndarray:
    """Every image as a network with :data:`NORMAL` takes it, float64 (N, 3, H, W), without the library."""
    pixels = images.load(np.arange(len(images)), (16, 16)).astype(np.float64)
    return ((pixels - NORMAL.mean) / NORMAL.std).transpose(0, 3, 1, 2)


def network(name: str = "densenet", **options: object) -> Model:
    """A network of the zoo that knows how its images are normalised."""
    model = from_proto(zoo.ALL[name](**options))
    model.preprocessing = NORMAL
    return model


def save_npz(path: Path, *, count: int = 30, classes: int = 10) -> Path:
    """The same pictures for training and test, in the layout that ``--data`` takes."""
    images = pictures(count, classes=classes)
    pixels = images.load(np.arange(count), (16, 16))
    labels = np.arange(count) % classes
    np.savez(path, x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
    return path
