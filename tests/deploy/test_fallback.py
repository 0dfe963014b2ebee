from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxcomp import graphs
from onnxcomp import model as models
from onnxcomp.deploy import fallback
from onnxcomp.deploy.finalize import finalize
from onnxcomp.deploy.lint.linter import lint
from onnxcomp.deploy.targets import get_target
from onnxcomp.model import Model
from tests import zoo
from tests.deploy import networks

NETWORKS = ("densenet", "resnet", "mobilenet")


def deployable(name: str, target: str) -> Model:
    model = networks.compressed(models.from_proto(zoo.ALL[name](size=8)), "qat")
    return finalize(model, get_target(target))


def layers(model: Model) -> list[str]:
    """Names of convolutions that read quantised weights."""
    return [n.name for n in model.graph.nodes if n.op == "Conv" and n.inputs[1].inputs]


def pairs(model: Model) -> list[str]:
    return [node.name for node in model.graph.nodes if node.op in fallback.PAIR]


def copy(model: Model) -> Model:
    return models.from_proto(models.to_proto(model))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("target", ["xavier", "orin"])
def test_a_layer_reads_what_its_pairs_read(name: str, target: str, tmp_path: Path) -> None:
    model = deployable(name, target)
    failing = layers(model)[1]
    graph = copy(model).graph
    result = copy(model)
    removed = fallback.dequantize_around(result.graph, {failing})
    (node,) = [n for n in result.graph.nodes if n.name == failing]
    (before,) = [n for n in graph.nodes if n.name == failing]
    source = before.inputs[0].inputs[0].inputs[0].inputs[0].inputs[0]
    assert node.inputs[0].name == source.name
    assert before.inputs[1].inputs[0].name in removed
    assert set(removed) == set(pairs(model)) - set(pairs(result))
    assert all(
        n.name in pairs(result) for n in graph.nodes if n.op in fallback.PAIR and n.name not in removed
    )
    # Its weights are, bit for bit, those that the quantised layer computed with.
    images = networks.images(model)
    values, _ = networks.run(model, images, [before.inputs[1].name, model.logits.name])
    assert np.array_equal(node.inputs[1].values, values)
    path = tmp_path / "d.onnx"
    models.save(result, path)
    report = lint(path, get_target(target), run=False)
    assert report.errors == 0, report.findings
    assert report.int8 is not None
    assert failing in report.int8.floats


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_else_changes(name: str) -> None:
    """The node's input as the new graph computes it, through the old one's pair, is the old one's input."""
    model = deployable(name, "xavier")
    failing = layers(model)[-1]
    (before,) = [n for n in model.graph.nodes if n.name == failing]
    quantised = before.inputs[0].name
    result = copy(model)
    fallback.dequantize_around(result.graph, {failing})
    (node,) = [n for n in result.graph.nodes if n.name == failing]
    images = networks.images(model)
    (old,), (new,) = (
        networks.run(model, images, [quantised]),
        networks.run(result, images, [node.inputs[0].name]),
    )
    scale = float(before.inputs[0].inputs[0].inputs[1].values)
    expected = np.clip(np.rint(new / np.float32(scale)), -128, 127) * np.float32(scale)
    np.testing.assert_allclose(old, expected, rtol=0, atol=1e-6)
    assert not np.array_equal(old, new)


def test_readers_may_be_freed_too() -> None:
    model = deployable("resnet", "xavier")
    node = next(n for n in model.graph.nodes if n.op == "Add" and n.outputs[0].outputs[0].op == "Relu")
    relu = node.outputs[0].outputs[0]
    assert any(reader.op == "QuantizeLinear" for reader in relu.outputs[0].outputs)
    fallback.dequantize_around(model.graph, {node.name, relu.name}, outputs=True)
    assert relu.outputs[0].outputs
    assert not any(reader.op == "QuantizeLinear" for reader in relu.outputs[0].outputs)


def test_all_layers_give_a_network_without_pairs() -> None:
    model = deployable("densenet", "xavier")
    names = {node.name for node in model.graph.nodes if node.op not in fallback.PAIR}
    removed = fallback.dequantize_around(model.graph, names)
    assert len(removed) > 4
    assert not any(graphs.quantizers(model.graph))


def test_a_float_node_has_nothing_to_remove() -> None:
    model = models.from_proto(zoo.resnet(size=8))
    assert fallback.dequantize_around(model.graph, {model.graph.nodes[0].name}) == ()
