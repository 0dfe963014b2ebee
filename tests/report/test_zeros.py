from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from onnxcomp import graphs, pipeline, recipe
from onnxcomp.deploy.finalize import finalize
from onnxcomp.deploy.targets import get_target
from onnxcomp.model import Model, from_proto, to_proto
from onnxcomp.report import zeros
from onnxcomp.report.layers import layers
from onnxcomp.report.zeros import Zeros
from tests import zoo
from tests.deploy.networks import compressed


def weight(op: str, values: np.ndarray, *, left: bool = False, **attributes: int) -> graphs.Weight:
    """The weight of one operator."""
    x, y = gs.Variable("x", np.float32), gs.Variable("y", np.float32)
    constant = gs.Constant("w", values)
    node = gs.Node(op, "node", dict(attributes), [constant, x] if left else [x, constant], [y])
    (found,) = graphs.weights(gs.Graph([node], [x], [y]))
    return found


def look(op: str, values: Any, **options: Any) -> Zeros:
    array = np.asarray(values, np.float32)
    return zeros.find(weight(op, array, **options), array)


def conv(rows: Any) -> Zeros:
    """A convolution of kernel 1 x 1 from its matrix (outputs, inputs)."""
    return look("Conv", np.asarray(rows)[:, :, None, None])


def test_dense() -> None:
    assert conv([[1, 2, 3, 4]]) == Zeros(0, "dense", False, 0, 0)


def test_not_a_number_is_no_zero() -> None:
    assert conv([[np.nan, 2, 3, 4]]) == Zeros(0, "dense", False, 0, 0)


def test_minus_zero_is_one() -> None:
    assert conv([[-0.0, 2, 3, 4], [1, 2, 3, 4]]) == Zeros(1, "unstructured", False, 0, 0)


def test_anywhere() -> None:
    assert conv([[0, 2, 3, 4], [1, 2, 3, 0]]) == Zeros(2, "unstructured", False, 0, 0)


def test_two_of_four() -> None:
    assert conv([[0, 2, 3, 0], [1, 0, 0, 4]]) == Zeros(4, "2:4", True, 0, 0)


def test_more_than_two_zeros_of_four_are_fine() -> None:
    assert conv([[0, 2, 0, 0], [1, 0, 0, 4], [1, 0, 3, 0]]) == Zeros(7, "2:4", True, 0, 0)


def test_half_of_the_weights_is_not_enough() -> None:
    rows = [[0, 0, 0, 4, 5, 6, 7, 0], [1, 2, 3, 0, 0, 0, 0, 8]]
    assert conv(rows) == Zeros(8, "unstructured", False, 0, 0)


def test_six_inputs_have_no_groups_of_four() -> None:
    assert not conv([[0, 0, 3, 0, 0, 6], [1, 0, 0, 0, 5, 0]]).two_four


def test_dead_channels_explain_all_zeros_or_not() -> None:
    dead_output = [[1, 2, 3, 4], [0, 0, 0, 0], [1, 2, 3, 4]]
    assert conv(dead_output) == Zeros(4, "dead channels", False, 1, 0)
    dead_both = [[0, 2, 3, 4], [0, 0, 0, 0], [0, 2, 3, 4]]
    assert conv(dead_both) == Zeros(6, "dead channels", False, 1, 1)
    one_more = [[0, 2, 3, 4], [0, 0, 0, 0], [0, 2, 3, 0]]
    assert conv(one_more) == Zeros(7, "unstructured", False, 1, 1)


def test_dead_channels_may_be_a_2_4_pattern_too() -> None:
    assert conv([[0, 2, 3, 0], [0, 2, 3, 0]]) == Zeros(4, "dead channels", True, 0, 2)


def test_all_zero() -> None:
    assert conv(np.zeros((3, 4))) == Zeros(12, "dead channels", True, 3, 4)


def test_a_kernel_position_has_its_own_groups() -> None:
    values = np.ones((1, 4, 1, 2))
    values[0, [0, 1], 0, 0] = 0
    values[0, [2, 3], 0, 1] = 0
    assert look("Conv", values) == Zeros(4, "2:4", True, 0, 0)
    values[0, 3, 0, 0], values[0, 2, 0, 1] = 0, 1  # three zeros at one position, one at the other
    assert look("Conv", values) == Zeros(4, "unstructured", False, 0, 1)


def test_depthwise() -> None:
    values = np.ones((4, 1, 2, 2))
    values[1] = 0
    values[2, 0, 0, 0] = 0
    assert look("Conv", values, group=4) == Zeros(5, "unstructured", False, 1, 1)


def test_grouped() -> None:
    values = np.ones((4, 4, 1, 1))  # 8 inputs, 2 groups
    values[:2, 0] = 0  # input 0 of the first group
    values[2, 1] = 0  # only one of two readers of the second group's input 1
    assert look("Conv", values, group=2) == Zeros(3, "unstructured", False, 0, 1)


def test_transposed_convolution_has_its_inputs_first() -> None:
    values = np.ones((4, 3, 1, 1))
    values[:2, 1] = 0
    values[[0, 3], 0] = 0
    values[2:, 2] = 0
    assert look("ConvTranspose", values) == Zeros(6, "2:4", True, 0, 0)
    values[:, 1] = 0
    assert look("ConvTranspose", values).dead_outputs == 1


@pytest.mark.parametrize(
    ("op", "options", "inputs_last"),
    [
        ("Gemm", {"transB": 1}, True),
        ("Gemm", {}, False),
        ("MatMul", {}, False),
        ("MatMul", {"left": True}, True),
    ],
)
def test_a_matrix_is_grouped_along_what_is_summed_over(
    op: str, options: dict[str, Any], inputs_last: bool
) -> None:
    rows = np.array([[0, 2, 3, 0], [0, 0, 0, 4], [0, 2, 0, 4]])
    values = rows if inputs_last else rows.T
    assert look(op, values, **options) == Zeros(7, "2:4", True, 0, 1)
    assert not look(op, values.T, **options).two_four


def test_a_batch_of_matrices() -> None:
    values = np.ones((2, 4, 3))
    values[0, :2] = 0
    values[1, 2:] = 0
    assert look("MatMul", values) == Zeros(12, "2:4", True, 0, 0)
    values[1, :3] = 0
    assert look("MatMul", values).dead_inputs == 2


def keep_two_of_four(model: Model, seed: int) -> None:
    """Give every other layer that can have it the pattern, at random places."""
    rng = np.random.default_rng(seed)
    for found in list(graphs.weights(model.graph))[::2]:
        view = zeros.by_channel(found, found.tensor.values)
        groups, outputs, inputs, positions = view.shape
        if inputs % 4 == 0:
            drawn = rng.random((groups, outputs, inputs // 4, 4, positions))
            ranks = drawn.argsort(3).argsort(3).reshape(view.shape)
            kept = found.tensor.values.copy()
            zeros.by_channel(found, kept)[...] *= ranks < 2
            found.tensor.values = kept


def sparse_by_polygraphy(proto: onnx.ModelProto) -> set[str]:
    """Names of the weights that `polygraphy inspect sparsity` calls sparse."""
    from polygraphy.logger import G_LOGGER
    from polygraphy.tools.sparse import SparsityPruner

    pruner = SparsityPruner(proto)
    with G_LOGGER.verbosity(G_LOGGER.CRITICAL), np.errstate(over="ignore"):
        pruner.check()
    return set(pruner.sparse_tensors)


@pytest.mark.parametrize("name", [*zoo.ALL, *zoo.MORE])
def test_the_same_layers_as_polygraphy(name: str) -> None:
    model = from_proto({**zoo.ALL, **zoo.MORE}[name]())
    keep_two_of_four(model, seed=3)
    ours = {layer.tensor for layer in layers(model) if layer.two_four}
    assert ours == sparse_by_polygraphy(to_proto(model))
    assert 0 < len(ours) < len(layers(model))


def test_the_same_layers_as_polygraphy_behind_q_dq() -> None:
    """What is stored for Xavier: float32 weights in front of Q/DQ, masks multiplied in."""
    model = from_proto(zoo.densenet())
    keep_two_of_four(model, seed=4)
    done = finalize(compressed(model, "prune,qat", sparsity=0.1), get_target("xavier"))
    ours = {layer.tensor for layer in layers(done) if layer.two_four}
    assert ours == sparse_by_polygraphy(to_proto(done))
    assert len(ours) >= 4
    assert all(layer.precision == "int8 w+a" for layer in layers(done))


def test_stored_integers_keep_the_pattern() -> None:
    model = from_proto(zoo.densenet())
    keep_two_of_four(model, seed=5)
    before = [layer.two_four for layer in layers(model)]
    for target in ("orin", "ort-cpu"):
        found = layers(finalize(compressed(model, "qat"), get_target(target)))
        assert [layer.two_four for layer in found] == before
        assert {layer.precision for layer in found} == {"int8 w+a"}


@pytest.mark.parametrize("name", [*zoo.ALL, *zoo.MORE])
def test_what_prune_writes_is_found(name: str) -> None:
    """Through the masks, and after finalize without them."""
    passes = recipe.parse("prune{pattern=2:4 schedule=one-shot keep_first=false keep_last=false}")
    model = pipeline.apply(from_proto({**zoo.ALL, **zoo.MORE}[name]()), passes)
    masked = graphs.masks(model.graph).keys()
    for found in (layers(model), layers(finalize(model, get_target("orin"), fold=False))):
        assert [layer.two_four for layer in found] == [layer.tensor in masked for layer in found]
        assert {layer.tensor for layer in found} >= masked
        assert all(layer.zeros == layer.size // 2 for layer in found if layer.tensor in masked)
    assert len(masked) > 1
