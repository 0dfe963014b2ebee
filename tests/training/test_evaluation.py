"""Tests of onnxcomp.training.evaluation."""

from __future__ import annotations

import numpy as np

from onnxcomp.training.evaluation import on_test_images
from onnxcomp.training.ranks import Alone
from onnxcomp.training.setup import prepared
from tests.training.fake import colours, linear


class Shared(Alone):
    """Ranks that run one after the other: the sum is known when the last has spoken."""

    def __init__(self, rank, size, said):
        self.rank, self.size, self.said = rank, size, said

    def average(self, arrays):
        (array,) = arrays
        self.said.append(float(array))
        array[...] = sum(self.said) / self.size


def test_the_shares_of_all_ranks_make_up_the_accuracy_of_one():
    data = colours(count=65)  # divides by neither
    model = prepared(linear(), data)
    weight = np.zeros((3, 3 * 16), np.float32)
    weight[0, :16], weight[1, 16:24] = 1, 1  # right for most
    model.constants()["weight"].values = weight
    whole = on_test_images(data, 1, Alone())(model)
    assert 40 < whole < 99
    for size in (2, 3, 70):  # of 70, five have nothing to do
        said: list[float] = []
        found = [on_test_images(data, 1, Shared(rank, size, said))(model) for rank in range(size)]
        assert len(said) == size
        assert abs(found[-1] - whole) < 1e-9
