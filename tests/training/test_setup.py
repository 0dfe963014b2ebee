"""Tests of onnxcomp.training.setup."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import model as models
from onnxcomp.errors import DataError, TrainingError
from onnxcomp.model import Form, Role
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.ranks import Alone
from onnxcomp.training.setup import prepared, share_weights, trainee_of, training_batches
from tests import zoo
from tests.training.fake import PRUNE, colours, linear


def test_the_argument_stays_as_it_is():
    model = linear()
    ours = prepared(model, colours())
    assert ours.classes == ("red", "green", "blue")
    assert (model.preprocessing, model.classes) == (None, ())


def test_a_finalised_network_is_refused():
    model = linear()
    model.form = Form.DEPLOYABLE
    with pytest.raises(TrainingError, match="is finalised and cannot be trained"):
        prepared(model, colours())


def test_a_step_has_the_batches_of_all_ranks():
    model = prepared(linear(), colours())
    config = TrainConfig(1, batch_size=4, accumulate=2, threads=1)
    assert training_batches(model, colours(), config).steps_per_epoch == 8
    assert training_batches(model, colours(), config, 4).steps_per_epoch == 2
    with pytest.raises(DataError, match="a batch of 4 times 18 cannot be made of 64"):
        training_batches(model, colours(), config, 9)
    with pytest.raises(DataError, match="did you mean cutout"):
        training_batches(model, colours(), TrainConfig(1, batch_size=4, augment="cutot"))


class Second(Alone):
    """The other of two ranks; rank 0 has ``values``, in the order in which they are asked for."""

    rank, size = 1, 2

    def __init__(self, values):
        self._values = values

    def broadcast(self, arrays):
        for array, value in zip(arrays, self._values, strict=True):
            array[...] = value


def test_ranks_begin_with_the_same_weights():
    ours, theirs = linear(f"{PRUNE},distill"), linear(f"{PRUNE},distill")
    moved = [name for name in sorted(theirs.roles) if theirs.roles[name] is not Role.TEACHER]
    values = {name: theirs.constants()[name].values + 1 for name in moved}
    before = {name: constant.values for name, constant in ours.constants().items()}
    share_weights(ours, Second(list(values.values())))
    assert {"weight", "weight.mask", "bias"} <= set(moved)
    for name, constant in ours.constants().items():
        np.testing.assert_array_equal(constant.values, values.get(name, before[name]))
    share_weights(ours, Alone())


def operators(model):
    return sorted(node.op for node in model.graph.nodes)


@pytest.mark.parametrize("passes", ["", PRUNE])
def test_smoothing_is_the_trainee_s_alone(passes):
    model = linear(passes)
    before = operators(model)
    plain = trainee_of(model, TrainConfig(1, threads=1))
    smooth = trainee_of(model, TrainConfig(1, threads=1, label_smoothing=0.1))
    assert plain.form is smooth.form is Form.COMPRESSION
    assert operators(model) == before
    assert "LogSoftmax" in operators(smooth)
    assert "LogSoftmax" not in operators(plain)


def test_frozen_statistics_are_no_longer_what_a_step_moves():
    model = models.from_proto(zoo.densenet(size=4, classes=3, layers=(1,), growth=4))
    roles = trainee_of(model, TrainConfig(1, threads=1)).roles
    frozen = trainee_of(model, TrainConfig(1, threads=1, batch_norm="frozen")).roles
    statistics = {name for name, role in roles.items() if role is Role.STATISTIC}
    assert statistics
    assert frozen == {name: role for name, role in roles.items() if name not in statistics}
