"""Which ONNX nodes a layer holds."""

from __future__ import annotations

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from onnxcomp.deploy.profile.nodes import Held, Names, held, main, names, twice
from onnxcomp.deploy.trtexec.exports.layers import LayerInfo, read_layers
from tests.deploy.profile.network import NODES, network
from tests.deploy.trtexec.samples import REAL, needs_real, sample

KNOWN = Names(
    {"Conv_9": ("Conv",), "MaxPool_12": ("MaxPool",), "QuantizeLinear_7": ("QuantizeLinear",),
     "a + b": ("Relu",), "a": ("Add",), "f(x)": ("Mul",), "Sigmoid_1": ("Sigmoid",), "Mul, 2": ("Mul",)},
    frozenset({"conv1.weight", "x + y"}),
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "nodes", "unknown"),
    [
        ("conv1.weight + QuantizeLinear_7 + Conv_9 + MaxPool_12", "QuantizeLinear_7 Conv_9 MaxPool_12", ""),
        ("Conv_9 || MaxPool_12", "Conv_9 MaxPool_12", ""),
        ("Conv_9 + Conv_90", "Conv_9", "Conv_90"),
        ("Conv_", "", "Conv_"),
        ("copied_squeeze_after_(Unnamed Layer* 355) [ElementWise]", "", ""),
        ("PWN(PWN(Sigmoid_1), f(x))", "Sigmoid_1 f(x)", ""),
        ("Conv_9 + PWN((Unnamed Layer* 16) [Shuffle], PWN(Sigmoid_1))", "Conv_9 Sigmoid_1", ""),
        ("__myl_CastMul_myl0_2", "", ""),
        ("", "", ""),
    ],
)
def test_names_that_tensorrt_fuses(name: str, nodes: str, unknown: str) -> None:
    assert held(LayerInfo(name), KNOWN) == Held(tuple(nodes.split()), unknown=tuple(unknown.split()))


def test_names_that_hold_a_separator() -> None:
    assert held(LayerInfo("x + y + a + b + Conv_9"), KNOWN).nodes == ("a + b", "Conv_9")
    assert held(LayerInfo("PWN(Sigmoid_1, Mul, 2)"), KNOWN).nodes == ("Sigmoid_1", "Mul, 2")


def test_a_range_of_nodes_is_known_by_its_ends() -> None:
    found = held(LayerInfo("{ForeignNode[Conv_9...MaxPool_12]}"), KNOWN)
    assert found == Held(("Conv_9", "MaxPool_12"), ends=True)
    assert held(LayerInfo("{ForeignNode[Conv_9]}"), KNOWN) == Held(("Conv_9",))


@pytest.mark.parametrize(
    "name",
    ["Reformatting CopyNode for Input Tensor 0 to Conv_9 + a", "Conv_9 + a output reformatter 0"],
)
def test_a_reformat_of_tensorrt_holds_no_node(name: str) -> None:
    assert held(LayerInfo(name), KNOWN) == Held(beside=("Conv_9", "a"))
    assert held(LayerInfo(name)).nodes == ()


def test_what_tensorrt_lists_counts() -> None:
    layer = LayerInfo("fc_myl0_1", onnx=("Conv_9", "gone"))
    assert held(layer, KNOWN) == Held(("Conv_9",), unknown=("gone",), listed=True)
    assert held(layer) == Held(("Conv_9", "gone"), listed=True)
    assert held(LayerInfo("Conv_9", onnx=()), KNOWN) == Held(("Conv_9",))


def test_without_the_file_all_parts_are_taken_for_nodes() -> None:
    found = held(LayerInfo("w + Conv_9 + (Unnamed Layer* 3) [Shuffle]"))
    assert found == Held(("w", "Conv_9"))


def test_names_of_a_file() -> None:
    found = names(network())
    assert list(found.operators) == [name for name, *_ in NODES]
    assert found.operators["conv2"] == ("Conv",)
    assert {"conv1.weight", "x", "b1.int8", "y"} <= found.tensors
    assert not found.tensors & found.operators.keys()


def test_nodes_without_a_name_or_with_the_same_one() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("Relu", ["y"], ["z"], "same"),
        helper.make_node("Neg", ["z"], ["v"], "same"),
    ]
    found = names(onnx.ModelProto(graph=helper.make_graph(nodes, "g", [], [])))
    assert found.operators == {"node_of_y": ("Relu",), "same": ("Relu", "Neg")}
    assert held(LayerInfo("node_of_y + same"), found).nodes == ("node_of_y", "same")


def test_the_node_that_does_the_work() -> None:
    known = names(network())
    assert main(("b1.DQ", "conv2.weight.Q", "relu2", "conv2"), known) == "conv2"
    assert main(("b1.DQ", "relu2"), known) == "relu2"
    assert main(("b1.DQ",), known) == "b1.DQ"
    assert main(("first", "second")) == "first"
    assert main(()) == ""


def test_nodes_in_several_layers() -> None:
    assert twice([Held(("a", "b")), Held(("b",)), Held(beside=("a",))]) == ("b",)


@pytest.mark.parametrize("version", ["8.5", "8.6", "10", "11"])
def test_every_part_of_the_samples_is_explained(version: str) -> None:
    known = names(network())
    found = [held(each, known) for each in read_layers(sample(version, "layers")).layers]
    assert not [part for each in found for part in each.unknown]
    assert not twice(found)
    assert {"conv1", "pool", "conv2", "conv3", "mean", "fc", "scale"} <= {
        n for each in found for n in each.nodes
    }


@needs_real
def test_real_names() -> None:
    layers = read_layers(REAL / "layerinfo_trt8.json").layers
    operators = {
        "QuantizeLinear_2",
        "Conv_34",
        "Add_42",
        "Relu_43",
        "QuantizeLinear_32",
        "GlobalAveragePool_294",
    }
    known = Names({name: (name.split("_")[0],) for name in operators}, frozenset({"layer1.0.conv2.weight"}))
    found = [held(each, known) for each in layers]
    assert found[0].nodes == ("QuantizeLinear_2",)
    assert found[3] == Held(("QuantizeLinear_32", "Conv_34", "Add_42", "Relu_43"))
    assert found[5].nodes == ("GlobalAveragePool_294",)
    assert found[6] == Held()


@given(st.text(alphabet="ab +|,()PWN{}[].…", max_size=60))
def test_any_name_gives_exact_nodes_alone(name: str) -> None:
    found = held(LayerInfo(name), KNOWN)
    assert set(found.nodes) <= KNOWN.operators.keys()
    assert not set(found.unknown) & KNOWN.operators.keys()


@pytest.mark.timeout(20)
def test_a_long_name_takes_no_time_that_grows_with_its_square() -> None:
    parts = [f"n{index}" for index in range(20_000)]
    assert held(LayerInfo(" + ".join(parts)), KNOWN).unknown == tuple(parts)
    assert held(LayerInfo("PWN(" * 20_000 + "a" + ")" * 20_000), KNOWN).nodes == ("a",)
