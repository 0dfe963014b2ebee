"""Tests of onnxcomp.training.identity."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.data import DataSet, ImageSet
from onnxcomp.errors import CheckpointError
from onnxcomp.training.identity import Identity, describe
from tests.training.fake import IMAGES, SIZE, colours

IDENTITY = Identity("abc", {"lr": 0.1, "optimizer": "sgd", "ema": None})


def test_the_same_run_passes():
    IDENTITY.check(Identity("abc", {"ema": None, "optimizer": "sgd", "lr": 0.1}), "there")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Identity("abd", IDENTITY.settings), "there: belongs to another model; give what"),
        (
            Identity("abc", {**IDENTITY.settings, "lr": 0.2}),
            r"belongs to a run with lr 0\.2, not 0\.1; .*--from",
        ),
        (
            Identity("abc", {"lr": 0.1, "optimizer": "sgd", "seed": 3}),
            "belongs to a run with seed 3, not None",
        ),
    ],
)
def test_the_first_difference_is_named(other, message):
    with pytest.raises(CheckpointError, match=message):
        IDENTITY.check(other, "there")


def test_the_description_tells_data_sets_apart():
    data = colours()
    pixels, labels = data.train.load(np.arange(IMAGES), (SIZE, SIZE)), data.train.labels

    def other(pixels, labels):
        return DataSet("colours", ImageSet.from_arrays(pixels, labels, data.classes), data.test)

    assert describe(data) == describe(colours()) == describe(other(pixels, labels))
    assert (
        len({describe(data), describe(other(pixels // 2, labels)), describe(other(pixels, labels[::-1]))})
        == 3
    )
