from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnxcomp.errors import ModelError
from onnxcomp.model import from_proto
from onnxcomp.passes.distill import teachers
from onnxcomp.passes.distill.teachers.batch import free_batch
from tests.passes.distill.teachers.scene import TOLERANCE, alone, beside, proto, student, written


def stuck(batch: int) -> onnx.ModelProto:
    """A network with one constant row for each image of its batch."""
    made = proto("mlp", 17, batch)
    rows = np.random.default_rng(0).normal(size=(batch, 10)).astype(np.float32)
    made.graph.initializer.append(numpy_helper.from_array(rows, "rows"))
    made.graph.node.append(helper.make_node("Add", ["output", "rows"], ["end"], name="rows_added"))
    made.graph.output[0].name = "end"
    return made


def test_a_batch_that_cannot_be_freed_is_refused(tmp_path: Path) -> None:
    teacher = teachers.read(written(stuck(4), tmp_path, "t.onnx"))
    with pytest.raises(ModelError) as caught:
        teachers.check(teacher, student(), resize=False)
    text = str(caught.value)
    assert text.startswith(f"distill: teacher {tmp_path}/t.onnx: runs only at a batch of 4: ")
    assert "rows_added" in text
    assert text.endswith("; export it with a free batch (dynamic axes)")


def test_it_may_teach_a_student_of_that_batch(tmp_path: Path) -> None:
    path = written(stuck(4), tmp_path)
    network = student(17, 4)
    images = np.random.default_rng(0).standard_normal((4, 3, 16, 16)).astype(np.float32)
    found, answers = beside(network, path, images=images)
    np.testing.assert_allclose(answers, alone(path, images), atol=TOLERANCE, rtol=0)
    assert len(found.notes) == 1
    with pytest.raises(ModelError, match="runs only at a batch of 4"):
        beside(student(17, 2), path)


def test_a_reshape_for_another_batch_in_a_network_that_claims_any() -> None:
    made = proto("mlp", 17)
    made.graph.initializer.append(numpy_helper.from_array(np.array([2, 10]), "two"))
    made.graph.node.append(helper.make_node("Reshape", ["output", "two"], ["end"], name="again"))
    made.graph.output[0].name = "end"
    del made.graph.output[0].type.tensor_type.shape.dim[:]
    made.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 2
    made.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 10
    with pytest.raises(ModelError) as caught:
        free_batch(from_proto(made), allowed=None, where="t.onnx")
    assert str(caught.value).startswith("t.onnx: does not run at any batch: ")
    assert "again" in str(caught.value)


def test_a_free_batch_is_left_alone() -> None:
    model = from_proto(proto("vit"))
    nodes = [(node.name, node.op) for node in model.graph.nodes]
    assert not free_batch(model, allowed=None, where="t")
    assert [(node.name, node.op) for node in model.graph.nodes] == nodes
    assert model.batch is None
