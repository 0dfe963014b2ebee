from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxcomp import extras
from onnxcomp.model import Model, from_proto, to_proto
from tests import run
from tests.passes.distill.teachers.scene import NETWORKS, TOLERANCE, alone, beside, proto, student, written

IMAGES = np.random.default_rng(2).standard_normal((8, 3, 16, 16)).astype(np.float32)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_fixed_batch_becomes_free(tmp_path: Path, name: str, batch: int) -> None:
    path = written(proto(name, 17, batch), tmp_path)
    found, answers = beside(student(), path, images=IMAGES)
    np.testing.assert_allclose(answers, alone(path, IMAGES, batch), atol=TOLERANCE, rtol=0)
    assert f"its batch of {batch} is free now" in found.notes
    assert found.logits.shape == ["N", 10]


def baked(name: str, batch: int) -> Model:
    """As an exporter writes a network of a fixed batch: shapes are numbers, tokens not spread over 1."""
    model = from_proto(proto(name, 17, batch))
    graph = model.graph
    computed = [node.inputs[1] for node in graph.nodes if node.op in ("Reshape", "Expand")]
    extended = from_proto(proto(name, 17, batch))
    proto_ = to_proto(extended)
    proto_.graph.output.extend(
        helper.make_tensor_value_info(t.name, TensorProto.INT64, None) for t in computed if t.inputs
    )
    session = extras.onnxruntime().InferenceSession(proto_.SerializeToString())
    images = np.zeros((batch, *model.image_shape), np.float32)
    for tensor in computed:
        if tensor.inputs:
            (values,) = session.run([tensor.name], {"input": images})
            tensor.inputs.clear()
            tensor.to_constant(values)
    for node in graph.nodes:
        if node.op == "Expand" and batch == 1:
            (reader,) = node.outputs[0].outputs
            reader.inputs[list(reader.inputs).index(node.outputs[0])] = node.inputs[0]
            node.outputs.clear()
    graph.cleanup().toposort()
    assert not any(node.op == "Shape" for node in graph.nodes)
    return model


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("opset", [17, 21])
def test_a_batch_in_targets_and_tokens(tmp_path: Path, batch: int, opset: int) -> None:
    path = written(baked("vit", batch), tmp_path)
    network = student(opset)
    found, answers = beside(network, path, images=IMAGES)
    np.testing.assert_allclose(answers, alone(path, IMAGES, batch), atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(
        beside(student(opset), path, images=IMAGES[:3])[1], answers[:3], atol=TOLERANCE, rtol=0
    )
    shapes = [tensor.shape for node in found.graphs[0].graph.nodes for tensor in node.outputs]
    assert all(shape is not None for shape in shapes)


def heads_first(batch: int) -> onnx.ModelProto:
    """Attention as torch.nn.MultiheadAttention is exported: (L, N, E), heads merged with the batch."""
    rng = np.random.default_rng(1)
    width, heads, tokens = 12, 2, 4
    values = {
        "patch": rng.normal(0, 0.1, (width, 3, 8, 8)), "q": rng.normal(0, 0.5, (width, width)),
        "k": rng.normal(0, 0.5, (width, width)), "v": rng.normal(0, 0.5, (width, width)),
        "head": rng.normal(0, 0.5, (tokens * width, 10)),
    }  # fmt: skip
    targets = {
        "flat": [batch, width, tokens],
        "split": [tokens, batch * heads, width // heads],
        "joined": [tokens, batch, width],
        "line": [batch, -1],
    }
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
    constants += [numpy_helper.from_array(np.array(value), name) for name, value in targets.items()]

    def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(op, inputs.split(), [output], name=f"n_{output}", **attributes)

    nodes = [
        node("Conv", "image patch", "p", kernel_shape=[8, 8], strides=[8, 8]),
        node("Reshape", "p flat", "p3"),
        node("Transpose", "p3", "x", perm=[2, 0, 1]),
    ]
    for part in "qkv":
        nodes += [
            node("MatMul", f"x {part}", f"{part}1"),
            node("Reshape", f"{part}1 split", f"{part}2"),
            node("Transpose", f"{part}2", f"{part}3", perm=[1, 2, 0] if part == "k" else [1, 0, 2]),
        ]
    nodes += [
        node("MatMul", "q3 k3", "scores"),
        node("Softmax", "scores", "shares", axis=-1),
        node("MatMul", "shares v3", "mixed"),
        node("Transpose", "mixed", "m2", perm=[1, 0, 2]),
        node("Reshape", "m2 joined", "m3"),
        node("Transpose", "m3", "m4", perm=[1, 0, 2]),
        node("Reshape", "m4 line", "m5"),
        node("MatMul", "m5 head", "logits"),
    ]
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 10])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_batch_that_moves_and_merges_with_heads(tmp_path: Path, batch: int) -> None:
    path = written(heads_first(batch), tmp_path)
    _, answers = beside(student(), path, images=IMAGES)
    expected = alone(path, IMAGES, batch)
    assert expected.std(axis=0).min() > 0.01  # images differ: a batch mixed up would show
    np.testing.assert_allclose(answers, expected, atol=TOLERANCE, rtol=0)


def test_a_student_of_a_fixed_batch(tmp_path: Path) -> None:
    path = written(baked("vit", 1), tmp_path)
    network = student(17, 4)
    found, answers = beside(network, path, images=IMAGES[:4])
    np.testing.assert_allclose(answers, alone(path, IMAGES[:4], 1), atol=TOLERANCE, rtol=0)
    assert found.logits.shape == [4, 10]
    assert run.images(network).shape[0] == 4
