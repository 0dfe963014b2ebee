from __future__ import annotations

import pytest

from onnxcomp import losses, pipeline, recipe
from onnxcomp import origin as origins
from onnxcomp.origin import Origin, origin
from tests import pictures, run


@pytest.mark.parametrize(
    ("name", "op", "expected"),
    [
        ("prune/a.weight", "Mul", Origin("prune", "mask of", "a.weight")),
        ("qat/a.weight/quantize", "QuantizeLinear", Origin("qat", "quantize", "a.weight")),
        ("qat//a/Relu/dequantize", "DequantizeLinear", Origin("qat", "dequantize", "/a/Relu")),
        ("teacher/a", "Conv", Origin("distill", "teacher", "a")),
        ("teacher/loss/hint/0/on", "Greater", Origin("distill", "teacher's side of loss", "hint/0/on")),
        ("loss/connector/hint/0", "Conv", Origin("distill", "connector of loss", "hint/0")),
        ("loss/task", "SoftmaxCrossEntropyLoss", Origin("training", "task loss", "")),
        ("loss/total/loss/hint", "Mul", Origin("training", "total loss", "loss/hint")),
        ("loss/hint/0/square", "Mul", Origin("distill", "loss", "hint/0/square")),
        ("features.conv0", "Conv", None),
        ("model/prune/a", "Mul", None),
    ],
)  # fmt: skip
def test_names_tell(name: str, op: str, expected: Origin | None) -> None:
    assert origin(name, op) == expected


def test_the_task_loss_is_called_as_it_is_made() -> None:
    assert origins.TASK == losses.TASK


def test_it_reads_as_a_sentence() -> None:
    assert str(origin("prune/a", "Mul")) == "added by prune: mask of a"
    assert str(origin("loss/task", "Mul")) == "added for training: task loss"


@pytest.mark.parametrize("passes", ["prune", "qat", "distill", "prune,qat,distill"])
def test_every_node_that_a_pass_adds_has_one_and_no_other(passes: str) -> None:
    model = pictures.network("densenet")
    own = {node.name for node in model.graph.nodes}
    after = pipeline.apply(model, recipe.parse(passes), calibration=run.Observed())
    found = {node.name: origin(node.name, node.op) for node in after.graph.nodes}
    assert {name for name, source in found.items() if source is None} == own
    steps = {source.step for source in found.values() if source is not None}
    assert steps == {*passes.split(","), "training"}
