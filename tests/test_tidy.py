"""The canonical shape: what goes, what stays, and the same answers to 1e-6."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxcomp import extras
from onnxcomp.errors import ModelError
from onnxcomp.model import Model, from_proto, to_proto
from onnxcomp.tidy import tidy
from tests import run, zoo
from tests.builder import Builder

IMAGES = np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)


def answers(proto: onnx.ModelProto, images: np.ndarray = IMAGES) -> np.ndarray:
    """What ONNX Runtime makes of the file as it is, without optimisations."""
    runtime = extras.onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return runtime.InferenceSession(proto.SerializeToString(), options).run(None, {"input": images})[0]


def network(
    write: Callable[[Builder, str], str], opset: int = 17, *, batch: str | int = "N"
) -> onnx.ModelProto:
    """``write`` between the input (N, 3, 4, 4) and a global average; the logits are 3 channels."""
    net = Builder(0)
    x = net.node("GlobalAveragePool", [write(net, "input")], "pooled", "pool")
    x = net.node("Flatten", [x], "flat", "flatten", axis=1)
    return net.model(x, opset, (batch, 3, 4, 4), 3)


def tidied(proto: onnx.ModelProto) -> Model:
    """The model, after a check that it answers as ``proto`` does, to 1e-6, also through a file."""
    expected = answers(proto)
    model = from_proto(proto)
    np.testing.assert_allclose(run.logits(model, IMAGES), expected, rtol=0, atol=1e-6)
    again = from_proto(to_proto(model))
    np.testing.assert_allclose(run.logits(again, IMAGES), expected, rtol=0, atol=1e-6)
    onnx.checker.check_model(to_proto(model), full_check=True)
    return model


def ops(model: Model) -> list[str]:
    return [node.op for node in model.graph.nodes]


BODY = ["GlobalAveragePool", "Flatten"]


@pytest.mark.parametrize("opset", [13, 14, 17, 21])
@pytest.mark.parametrize("name", zoo.ALL)
def test_networks_of_exporters_answer_the_same(name: str, opset: int) -> None:
    proto = zoo.ALL[name](opset)
    model = from_proto(proto)
    images = run.images(model)
    np.testing.assert_allclose(run.logits(model, images), answers(proto, images), rtol=0, atol=1e-6)
    assert not {"Constant", "Identity", "Dropout"} & set(ops(model))
    assert [tensor.name for tensor in model.graph.outputs] == ["output"]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"value": numpy_helper.from_array(np.full((3, 1, 1), 2, np.float32))}, np.full((3, 1, 1), 2.0)),
        ({"value_float": 2.5}, np.array(2.5)),
        ({"value_floats": [2.5]}, np.array([2.5])),
    ],
)
def test_constants_become_initializers(attributes: dict, expected: np.ndarray) -> None:
    def write(net: Builder, x: str) -> str:
        return net.node("Mul", [x, net.node("Constant", [], "c", "c", **attributes)], "y", "mul")

    model = tidied(network(write))
    assert ops(model) == ["Mul", *BODY]
    values = model.constants()["c"].values
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, expected)
    assert values.shape == expected.shape


@pytest.mark.parametrize(
    ("attributes", "values"), [({"value_int": 1}, np.array(1)), ({"value_ints": [0, -1]}, np.array([0, -1]))]
)
def test_whole_number_constants(attributes: dict, values: np.ndarray) -> None:
    net = Builder(0)
    net.node("Constant", [], "c", "c", **attributes)
    graph = gs.import_onnx(helper.make_model(helper.make_graph(net.nodes, "g", [], [])))
    reader = gs.Node(
        "Shape", "reader", inputs=[graph.nodes[0].outputs[0]], outputs=[gs.Variable("y", np.int64)]
    )
    graph.nodes.append(reader)
    graph.outputs.append(reader.outputs[0])
    tidy(graph)
    constant = reader.inputs[0]
    assert isinstance(constant, gs.Constant)
    assert constant.values.dtype == np.int64
    np.testing.assert_array_equal(constant.values, values)


def test_a_constant_read_twice_is_one_initializer() -> None:
    def write(net: Builder, x: str) -> str:
        c = net.node("Constant", [], "c", "c", value_float=2.0)
        return net.node("Add", [net.node("Mul", [x, c], "m", "mul"), c], "y", "add")

    model = tidied(network(write))
    assert list(model.constants()) == ["c"]


def test_identities_go_and_the_output_keeps_its_name() -> None:
    def write(net: Builder, x: str) -> str:
        x = net.node("Identity", [x], "a", "i1")
        x = net.node("Identity", [x], "b", "i2")
        x = net.node("Relu", [x], "r", "relu")
        return net.node("Identity", [x], "y", "i3")

    model = tidied(network(write))  # network() itself ends with an Identity
    assert ops(model) == ["Relu", *BODY]
    assert model.graph.nodes[-1].outputs[0].name == "output"


def test_an_output_that_others_read_keeps_its_readers() -> None:
    """Flatten's result goes through Identity to the output, and into a node that reaches nothing else."""

    def write(net: Builder, x: str) -> str:
        r = net.node("Relu", [x], "r", "relu")
        i = net.node("Identity", [r], "i", "identity")
        return net.node("Add", [r, i], "y", "add")

    model = tidied(network(write))
    add = next(node for node in model.graph.nodes if node.op == "Add")
    assert [tensor.name for tensor in add.inputs] == ["r", "r"]


def test_parameters_that_share_a_value_become_separate() -> None:
    """torch's exporter writes equal biases once, the others as Identity of it; also in a chain."""

    def write(net: Builder, x: str) -> str:
        bias = net.constant("bias", net.small(3))
        weights = [net.constant(f"w{i}", net.he(3, 3, 1, 1)) for i in range(3)]
        second = net.node("Identity", [bias], "bias_1", "Identity_1")
        third = net.node("Identity", [second], "bias_2", "Identity_2")
        for i, (w, b) in enumerate(zip(weights, (bias, second, third), strict=True)):
            x = net.node("Conv", [x, w, b], f"y{i}", f"conv{i}")
        return x

    model = tidied(network(write))
    constants = model.constants()
    assert ops(model) == ["Conv"] * 3 + BODY
    biases = [constants[name].values for name in ("bias", "bias_1", "bias_2")]
    biases[0][:] = 7
    assert not any((other == 7).any() for other in biases[1:])


def dropout(mode: bool | None, *, ratio: bool = True) -> onnx.ModelProto:
    def write(net: Builder, x: str) -> str:
        inputs = [x]
        if ratio or mode is not None:
            inputs.append("ratio" if ratio else "")
        if mode is not None:
            inputs.append("mode")
        scalars = {"ratio": np.array(0.5, np.float32), "mode": np.array(mode, np.bool_)}
        net.initializers += [numpy_helper.from_array(scalars[name], name) for name in inputs[1:] if name]
        return net.node("Dropout", inputs, "y", "drop")

    return network(write)


@pytest.mark.parametrize("ratio", [False, True])
@pytest.mark.parametrize("mode", [None, False])
def test_dropout_of_inference_goes(mode: bool | None, ratio: bool) -> None:
    model = tidied(dropout(mode, ratio=ratio))
    assert ops(model) == BODY
    assert not model.constants()


def test_dropout_in_training_mode_is_refused() -> None:
    with pytest.raises(ModelError) as refusal:
        from_proto(dropout(True), where="m.onnx")
    assert str(refusal.value) == (
        "m.onnx: node drop is Dropout in training mode; export the model in eval mode"
    )


def test_a_dropout_whose_mask_is_read_stays() -> None:
    net = Builder(0)
    net.nodes.append(helper.make_node("Dropout", ["input"], ["y", "mask"], "drop"))
    net.node("Cast", ["mask"], "kept", "cast", to=TensorProto.FLOAT)
    x = net.node("GlobalAveragePool", [net.node("Mul", ["y", "kept"], "z", "mul")], "pooled", "pool")
    model = tidied(net.model(net.node("Flatten", [x], "flat", "flatten"), 17, ("N", 3, 4, 4), 3))
    assert ops(model) == ["Dropout", "Cast", "Mul", *BODY]


def norm(net: Builder, x: str, inputs: list[str], number: int | str, **attributes: object) -> str:
    name = f"bn{number}" if isinstance(number, int) else number
    return net.node("BatchNormalization", [x, *inputs], f"y{number}", name, **attributes)


def positive(net: Builder, name: str) -> str:
    return net.constant(name, net.rng.uniform(0.5, 1.5, 3).astype(np.float32))


@pytest.mark.parametrize("opset", [13, 14, 17])
@pytest.mark.parametrize("named", [True, False])
def test_shared_statistics_are_split(opset: int, named: bool) -> None:
    def write(net: Builder, x: str) -> str:
        shared = [positive(net, name) for name in ("scale", "bias", "mean", "var")]
        for i in range(3):
            x = norm(net, x, shared, i if named else "")
            if not named:
                net.nodes[-1].output[0] = x = f"y{i}"
        return x

    model = tidied(network(write, opset))
    norms = [node for node in model.graph.nodes if node.op == "BatchNormalization"]
    tensors = [tensor for node in norms for tensor in node.inputs[1:]]
    assert len({id(tensor) for tensor in tensors}) == 12
    assert len({tensor.name for tensor in tensors}) == 12
    tensors[3].values[:] = 9
    assert not any((tensor.values == 9).any() for tensor in tensors if tensor is not tensors[3])


def test_one_tensor_as_scale_and_variance_is_split() -> None:
    """Names that the split would choose may be taken already."""

    def write(net: Builder, x: str) -> str:
        ones = net.constant("bn0.weight", np.ones(3, np.float32))
        zeros = net.constant("zeros", np.zeros(3, np.float32))
        return norm(net, x, [ones, zeros, zeros, ones], 0)

    model = tidied(network(write))
    node = next(node for node in model.graph.nodes if node.op == "BatchNormalization")
    names = [tensor.name for tensor in node.inputs[1:]]
    assert len(set(names)) == 4
    assert set(names) == set(model.constants())


def test_own_statistics_keep_their_names() -> None:
    model = from_proto(zoo.densenet())
    node = next(node for node in model.graph.nodes if node.op == "BatchNormalization")
    assert [tensor.name for tensor in node.inputs[1:]] == [
        f"features.norm0.{key}" for key in ("weight", "bias", "running_mean", "running_var")
    ]


@pytest.mark.parametrize(("opset", "attributes", "outputs"), [(17, {"training_mode": 1}, 3), (13, {}, 5)])
def test_batch_normalization_in_training_mode_is_refused(opset: int, attributes: dict, outputs: int) -> None:
    def write(net: Builder, x: str) -> str:
        y = norm(net, x, [positive(net, name) for name in ("scale", "bias", "mean", "var")], 0, **attributes)
        net.nodes[-1].output.extend(f"extra{i}" for i in range(outputs - 1))
        return y

    with pytest.raises(ModelError) as refusal:
        from_proto(network(write, opset), where="m.onnx")
    assert str(refusal.value) == (
        "m.onnx: node bn0 is BatchNormalization in training mode; export the model in eval mode"
    )


def test_nodes_that_reach_no_output_go() -> None:
    def write(net: Builder, x: str) -> str:
        net.node("Mul", [x, net.constant("unread", net.small(1))], "nowhere", "dead")
        return net.node("Relu", [x], "y", "relu")

    model = tidied(network(write))
    assert ops(model) == ["Relu", *BODY]
    assert not model.constants()
    assert model.image.name == "input"


def test_node_names_become_unique_and_stay_where_they_are() -> None:
    def write(net: Builder, x: str) -> str:
        for i, name in enumerate(("", "same", "same", "same_1", "same", "")):
            x = net.node("Relu", [x], f"y{i}", name)
        return x

    model = from_proto(network(write))  # ONNX Runtime does not take the file before
    onnx.checker.check_model(to_proto(model), full_check=True)
    assert run.logits(model, IMAGES).shape == (2, 3)
    names = [node.name for node in model.graph.nodes][:6]
    assert names == ["y0", "same", "same_1", "same_1_1", "same_2", "y5"]


@pytest.mark.parametrize("stored", ["raw", "typed"])
def test_data_that_is_not_of_its_shape_is_refused(stored: str) -> None:
    def write(net: Builder, x: str) -> str:
        tensor = numpy_helper.from_array(net.he(3, 3, 1, 1), "w")
        if stored == "typed":
            tensor = helper.make_tensor("w", TensorProto.FLOAT, (3, 3, 1, 1), numpy_helper.to_array(tensor))
        net.initializers.append(tensor)
        return net.node("Conv", [x, "w"], "y", "conv")

    proto = network(write)
    weight = proto.graph.initializer[0]
    if stored == "raw":
        weight.raw_data = weight.raw_data[:-4]
    else:
        del weight.float_data[-1]
    with pytest.raises(ModelError) as refusal:
        from_proto(proto, where="m.onnx")
    assert str(refusal.value).startswith("m.onnx: ")
    assert str(refusal.value).endswith(" again")


def test_copies_do_not_share_names() -> None:
    """The exporter writes into tensors that it has not read; a copy's names must not reach the original."""
    model = from_proto(zoo.densenet())
    copy = model.copy()
    for tensor in copy.graph.tensors().values():
        tensor.name = "copy/" + tensor.name
    to_proto(copy)
    names = [tensor.name for tensor in to_proto(model).graph.initializer]
    assert names == [tensor.name for tensor in zoo.densenet().graph.initializer]
    model.graph.nodes += list(copy.graph.nodes)
    for node in copy.graph.nodes:
        node.name = "copy/" + node.name
    both = [tensor.name for tensor in to_proto(model).graph.initializer]
    assert sorted(both) == sorted([*names, *("copy/" + name for name in names)])


def test_is_idempotent() -> None:
    for name in zoo.ALL:
        once = to_proto(from_proto(zoo.ALL[name]()))
        assert to_proto(from_proto(once)) == once


def test_an_empty_bias_goes() -> None:
    def convolution(net: Builder, x: str) -> str:
        weight = net.constant("w", net.he(3, 3, 1, 1))
        return net.node("Conv", [x, weight, ""], "convolved", "conv")

    model = tidied(network(convolution))
    assert [tensor.name for tensor in model.graph.nodes[0].inputs] == ["input", "w"]
