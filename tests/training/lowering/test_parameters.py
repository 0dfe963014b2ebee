from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.errors import TrainingError
from onnxcomp.model import Role
from onnxcomp.training.lowering.parameters import aligned, separate
from tests.training import networks


@pytest.mark.parametrize("shape", [(), (3,), (5, 3, 1, 7)])
def test_aligned_arrays(shape: tuple[int, ...]) -> None:
    array = aligned(shape)
    assert array.shape == shape
    assert array.dtype == np.float32
    assert array.ctypes.data % 64 == 0
    assert array.flags.writeable
    assert array.flags.c_contiguous
    assert not array.any()


def test_parameters_become_inputs_and_the_teacher_too() -> None:
    model = networks.zoo_compression("densenet", "prune,qat,distill")
    training = separate(model)
    wanted = {name for name, role in model.roles.items() if role is not Role.TEACHER}
    assert set(training.parameters) == wanted
    inputs = {tensor.name for tensor in training.graph.inputs}
    assert training.teacher is not None
    hidden = {tensor.name for tensor in training.teacher.outputs}
    assert inputs == {"input", "labels", *training.parameters, *hidden}
    assert all(name.startswith("teacher/") for name in hidden)
    assert not any(node.name.startswith("teacher/") for node in training.graph.nodes)
    values = model.constants()["features.conv0.weight"].values
    np.testing.assert_array_equal(training.parameters["features.conv0.weight"], values)
    assert not np.shares_memory(training.parameters["features.conv0.weight"], values)
    assert training.losses == ("loss", "loss/task", "loss/soft_targets", "loss/boundary")


def test_nothing_to_train() -> None:
    model = networks.zoo_compression("resnet")
    model.roles.clear()
    with pytest.raises(TrainingError, match="no tensor has the role `trainable`"):
        separate(model)
