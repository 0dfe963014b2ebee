from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import pipeline, recipe
from onnxcomp.errors import ModelError
from onnxcomp.model import LABELS, Form, from_proto
from onnxcomp.student import student, subgraph
from tests import run, zoo


@pytest.mark.parametrize("name", zoo.ALL)
def test_teacher_losses_and_labels_are_gone_and_the_logits_stay(name: str) -> None:
    passes = recipe.parse("distill" if name == "mlp" else "qat,distill")
    whole = pipeline.apply(from_proto(zoo.ALL[name]()), passes, calibration=run.Observed())
    nodes = len(whole.graph.nodes)
    cut = student(whole)
    assert [tensor.name for tensor in cut.graph.inputs] == ["input"]
    assert [tensor.name for tensor in cut.graph.outputs] == ["output"]
    assert not [node.name for node in cut.graph.nodes if node.name.startswith(("teacher/", "loss/"))]
    assert (cut.form, cut.roles, cut.losses) == (Form.INFERENCE, {}, {})
    images = run.images(whole)
    np.testing.assert_array_equal(run.logits(cut, images), run.logits(whole, images))
    # the argument is as it was
    assert len(whole.graph.nodes) == nodes
    assert whole.form is Form.COMPRESSION
    assert LABELS in {tensor.name for tensor in whole.graph.inputs}


def test_other_forms_are_kept() -> None:
    model = from_proto(zoo.mlp())
    model.form = Form.DEPLOYABLE
    assert student(model).form is Form.DEPLOYABLE


def test_a_part_of_the_graph_ends_at_any_tensor() -> None:
    model = from_proto(zoo.mlp())
    part = subgraph(model, ["active"])
    assert [node.op for node in part.graph.nodes] == ["Flatten", "Gemm", "Relu"]


def test_an_unknown_tensor_is_named() -> None:
    with pytest.raises(ModelError, match="there is no tensor nowhere"):
        subgraph(from_proto(zoo.mlp()), ["nowhere"])
