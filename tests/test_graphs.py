from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp import graphs


def variable(name: str, *shape: int) -> gs.Variable:
    return gs.Variable(name, np.float32, shape or None)


def constant(name: str, *shape: int) -> gs.Constant:
    return gs.Constant(name, np.ones(shape, np.float32))


def node(op: str, name: str, *inputs: gs.Tensor, **attrs: Any) -> gs.Node:
    return gs.Node(op, name, attrs, list(inputs), [variable(f"{name}.out")])


def masked(weight: gs.Constant) -> gs.Variable:
    mask = gs.Constant(f"{weight.name}.mask", np.ones(weight.shape, np.float32))
    return node("Mul", f"{graphs.PRUNE_PREFIX}{weight.name}", weight, mask).outputs[0]


def quantized(source: gs.Tensor, scale: np.ndarray, **attrs: Any) -> gs.Variable:
    name = f"{graphs.QAT_PREFIX}{source.name}"
    parameters = [gs.Constant(f"{name}.scale", scale), gs.Constant(f"{name}.zero", np.zeros_like(scale))]
    first = node("QuantizeLinear", f"{name}/quantize", source, *parameters, **attrs)
    return node("DequantizeLinear", f"{name}/dequantize", *first.outputs, *parameters, **attrs).outputs[0]


def graph_of(*ends: gs.Tensor | gs.Node) -> gs.Graph:
    """The graph of everything before ``ends``."""
    found: list[gs.Node] = []
    waiting = [end if isinstance(end, gs.Node) else end.inputs[0] for end in ends]
    while waiting:
        current = waiting.pop(0)
        if all(current is not other for other in found):
            found.append(current)
            waiting += [producer for tensor in current.inputs for producer in tensor.inputs]
    return gs.Graph(found, [], [end.outputs[0] if isinstance(end, gs.Node) else end for end in ends])


@pytest.mark.parametrize(
    ("op", "shape", "index", "attrs", "axis"),
    [
        ("Conv", (8, 4, 3, 3), 1, {}, 0),
        ("Conv", (8, 4, 3), 1, {}, 0),
        ("ConvTranspose", (4, 8, 3, 3), 1, {}, 1),
        ("Gemm", (4, 8), 1, {}, 1),
        ("Gemm", (4, 8), 1, {"transB": 0}, 1),
        ("Gemm", (8, 4), 1, {"transB": 1}, 0),
        ("MatMul", (4, 8), 1, {}, 1),
        ("MatMul", (2, 4, 8), 1, {}, 2),
        ("MatMul", (8, 4), 0, {}, 0),
        ("MatMul", (2, 8, 4), 0, {}, 1),
    ],
)
def test_the_output_axis_has_the_output_channels(
    op: str, shape: tuple[int, ...], index: int, attrs: dict[str, int], axis: int
) -> None:
    weight, x = constant("w", *shape), variable("x")
    inputs = [x, weight] if index == 1 else [weight, x]
    (found,) = graphs.weights(graph_of(node(op, "layer", *inputs, **attrs)))
    assert (found.node.name, found.index, found.axis, found.name) == ("layer", index, axis, "w")
    assert found.tensor is weight
    assert shape[axis] == 8


def test_what_is_no_weight_of_the_student() -> None:
    x, weight = variable("x"), constant("w", 2, 2)
    assert not list(
        graphs.weights(
            graph_of(
                node("MatMul", "of two computed tensors", x, x),
                node("MatMul", "of a vector", x, constant("v", 2)),
                node("Add", "of another operator", x, weight),
                node("MatMul", f"{graphs.TEACHER_PREFIX}layer", x, weight),
                node("MatMul", f"{graphs.LOSS_PREFIX}layer", x, weight),
            )
        )
    )


def test_a_shared_weight_comes_once_for_each_node_in_graph_order() -> None:
    x, weight = variable("x"), constant("w", 2, 2)
    layers = [node("Gemm", "b", x, weight, transB=1), node("MatMul", "a", x, weight)]
    found = [(item.node.name, item.axis) for item in graphs.weights(graph_of(*layers))]
    assert found == [("b", 0), ("a", 1)]


def test_a_weight_is_found_behind_its_mask_and_qdq() -> None:
    scale = np.ones(2, np.float32)
    for wrap in (
        lambda weight: weight,
        masked,
        lambda weight: quantized(weight, scale, axis=0),
        lambda weight: quantized(masked(weight), scale, axis=0),
    ):
        weight = constant("w", 2, 3, 1, 1)
        tensor = wrap(weight)
        assert graphs.constant_behind(tensor) is weight
        (found,) = graphs.weights(graph_of(node("Conv", "conv", variable("x"), tensor)))
        assert found.tensor is weight


def test_nothing_constant_is_behind_a_computed_tensor() -> None:
    x, weight = variable("x"), constant("w", 2, 2)
    assert graphs.constant_behind(x) is None
    assert graphs.constant_behind(quantized(x, np.ones((), np.float32))) is None
    assert graphs.constant_behind(node("Transpose", "turned", weight).outputs[0]) is None
    # The user's own product with a constant is no mask.
    assert graphs.constant_behind(node("Mul", "scaled", weight, constant("s", 2, 2)).outputs[0]) is None


def test_a_mask_is_the_second_input_of_a_mul_of_prune() -> None:
    weight, mask = constant("w", 2, 2), constant("m", 2, 2)
    name = f"{graphs.PRUNE_PREFIX}w"
    assert graphs.mask_of(node("Mul", name, weight, mask)) is mask
    assert graphs.mask_of(node("Mul", name, weight, variable("m"))) is None
    assert graphs.mask_of(node("Mul", "w", weight, mask)) is None
    assert graphs.mask_of(node("Add", name, weight, mask)) is None


def test_masks_go_by_the_name_of_their_weight() -> None:
    first, second = masked(constant("a", 2, 2)), masked(constant("b", 3, 2))
    x = variable("x")
    found = graphs.masks(graph_of(node("MatMul", "one", x, first), node("MatMul", "two", x, second)))
    assert {name: (mask.name, tuple(mask.shape)) for name, mask in found.items()} == {
        "a": ("a.mask", (2, 2)),
        "b": ("b.mask", (3, 2)),
    }


def test_quantizers_say_what_they_quantise_and_how() -> None:
    x, weight = variable("x"), constant("w", 4, 3, 1, 1)
    per_channel = np.arange(1, 5, dtype=np.float32)
    inputs = quantized(x, np.array(0.5, np.float32)), quantized(masked(weight), per_channel, axis=0)
    found = {pair.source.name: pair for pair in graphs.quantizers(graph_of(node("Conv", "conv", *inputs)))}
    assert set(found) == {"x", f"{graphs.PRUNE_PREFIX}w.out"}
    activation, of_weight = found["x"], found[f"{graphs.PRUNE_PREFIX}w.out"]
    assert (activation.per_channel, activation.weight, activation.scale.values) == (False, None, 0.5)
    assert (of_weight.per_channel, of_weight.axis) == (True, 0)
    assert of_weight.weight is weight
    np.testing.assert_array_equal(of_weight.scale.values, per_channel)
    assert of_weight.dequantize.inputs[0] is of_weight.quantize.outputs[0]


def test_the_axis_of_a_pair_that_does_not_say_is_onnx_s_default() -> None:
    dequantized = quantized(constant("w", 3, 4), np.ones(4, np.float32))
    (pair,) = graphs.quantizers(graph_of(dequantized))
    assert pair.axis == 1


def test_a_quantize_that_no_dequantize_reads_is_no_pair() -> None:
    parameters = constant("s"), constant("z")
    alone = node("QuantizeLinear", "alone", variable("x"), *parameters)
    other = node("Cast", "cast", *node("QuantizeLinear", "read", variable("y"), *parameters).outputs)
    assert not list(graphs.quantizers(graph_of(alone, other)))


def test_rewire_changes_the_given_readers_at_every_place() -> None:
    old, new, other = variable("old"), variable("new"), variable("other")
    twice, once = node("Concat", "twice", old, other, old), node("Relu", "once", old)
    stays = node("Relu", "stays", old)
    graphs.rewire(old, new, [twice, once])
    assert [tensor.name for tensor in twice.inputs] == ["new", "other", "new"]
    assert [tensor.name for tensor in once.inputs] == ["new"]
    assert [tensor.name for tensor in stays.inputs] == ["old"]
    assert [reader.name for reader in old.outputs] == ["stays"]


def test_rewire_takes_the_tensor_s_own_list_of_readers() -> None:
    old, new = variable("old"), variable("new")
    readers = [node("Relu", str(index), old) for index in range(3)]
    graphs.rewire(old, new, list(old.outputs))
    assert all(reader.inputs[0] is new for reader in readers)
    assert not old.outputs


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a", True), ("prune/a", True), ("teacher", True), ("teacher/a", False), ("loss/total", False)],
)
def test_is_student(name: str, expected: bool) -> None:
    assert graphs.is_student(node("Relu", name, variable("x"))) is expected


def test_free_name_counts_up_and_takes_what_it_gives() -> None:
    taken = {"a", "a_1"}
    assert [graphs.free_name(name, taken) for name in ("b", "b", "a", "a_1")] == ["b", "b_1", "a_2", "a_1_1"]
    assert taken == {"a", "a_1", "b", "b_1", "a_2", "a_1_1"}


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_along_multiplies_each_channel_by_its_own(axis: int) -> None:
    values = np.random.default_rng(0).standard_normal((4, 4, 4))
    vector = np.arange(4, dtype=np.float32)
    shaped = graphs.along(vector, axis, 3)
    assert shaped.dtype == np.float32
    for channel in range(4):
        np.testing.assert_array_equal(
            np.take(values * shaped, channel, axis), np.take(values, channel, axis) * channel
        )


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("rank", [0, 1, 4])
def test_along_of_a_single_value_is_a_scalar(shape: tuple[int, ...], rank: int) -> None:
    assert graphs.along(np.full(shape, 3, np.int8), 1, rank).shape == ()
