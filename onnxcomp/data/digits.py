"""scikit-learn's digits: 1,797 grey images of 8x8, shipped with scikit-learn, no download."""

from __future__ import annotations

import numpy as np

from onnxcomp import extras
from onnxcomp.data.dataset import DataSet, ImageSet
from onnxcomp.data.statistics import Statistics

SEED = 0
CLASSES = tuple(str(digit) for digit in range(10))
# Of the training images, in 0..255.
STATISTICS = Statistics((77.8967, 77.8967, 77.8967), (95.8730, 95.8730, 95.8730))


def open_digits() -> DataSet:
    """1,437 training and 360 test images; grey 0..16 becomes RGB 0..255; mirroring is off.

    Raises:
        MissingPackageError: scikit-learn is not installed.
    """
    bunch = extras.optional("sklearn.datasets", "demo").load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    images = np.repeat(grey[..., None], 3, axis=3)
    labels = bunch.target.astype(np.int64)
    # Every fifth of the shuffled images of each class is for the test: stratified to within one.
    order = np.random.default_rng(SEED).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    in_test = np.zeros(len(labels), bool)
    in_test[by_class[::5]] = True
    train, test = order[~in_test[order]], order[in_test[order]]
    return DataSet(
        "digits",
        ImageSet.from_arrays(images[train], labels[train], CLASSES, flip=False),
        ImageSet.from_arrays(images[test], labels[test], CLASSES, flip=False),
        STATISTICS,
    )
