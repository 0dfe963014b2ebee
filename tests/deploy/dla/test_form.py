from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from onnxcomp import graphs, pipeline, recipe
from onnxcomp.deploy.dla import Dla
from onnxcomp.deploy.dla.propagate import APART, spread
from onnxcomp.deploy.finalize import finalize_report
from onnxcomp.deploy.targets import get_target
from onnxcomp.model import Model, from_proto, to_proto
from tests import classifiers, means, run, zoo
from tests.builder import Builder, conv, head
from tests.deploy.networks import compressed, images, logits, postactivation

PRUNE = "prune{keep_first=false keep_last=false}"


def of_zoo(name: str) -> Model:
    return from_proto({**zoo.ALL, **zoo.MORE}[name]())


NETWORKS: dict[str, Callable[[], Model]] = {
    **{name: partial(of_zoo, name) for name in (*zoo.ALL, *zoo.MORE)},
    **{name: classifiers.NETWORKS[name] for name in ("lenet5", "resnet18")},
    "postactivation": lambda: from_proto(postactivation()),
}


@cache
def quantized(name: str, text: str) -> Model:
    return compressed(NETWORKS[name](), text)


def form(model: Model, target: str = "xavier-dla") -> tuple[Model, Dla]:
    result, report = finalize_report(model, get_target(target))
    assert report.dla is not None
    return result, report.dla


def without_activations(model: Model) -> Model:
    """The form for the GPU of a Xavier, its activations no longer rounded."""
    result, _ = finalize_report(model, get_target("xavier"))
    for pair in graphs.quantizers(result.graph):
        if pair.weight is None:
            graphs.rewire(pair.dequantize.outputs[0], pair.source, list(pair.dequantize.outputs[0].outputs))
    result.graph.cleanup()
    return result


@pytest.mark.parametrize("name", NETWORKS)
def test_it_answers_as_the_network_with_rounded_weights(name: str) -> None:
    """In float32: the same weights in the same graph, but for pooling written another way (1e-5)."""
    before = quantized(name, f"{PRUNE},qat")
    result, dla = form(before)
    proto = to_proto(result)
    onnx.checker.check_model(proto, full_check=True)
    assert not {node.op_type for node in proto.graph.node} & {"QuantizeLinear", "DequantizeLinear"}
    assert {tensor.data_type for tensor in proto.graph.initializer} <= {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.INT64,
    }
    batch = images(before, 8)
    expected, answers = logits(without_activations(before), batch), logits(result, batch)
    assert np.abs(expected - answers).max() <= 1e-5 * np.abs(expected).max()
    assert dla.pairs == sum(pair.weight is None for pair in graphs.quantizers(before.graph)) > 0


@pytest.mark.parametrize("target", ["xavier-dla", "orin-dla"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_tensor_has_a_scale_or_layers_in_fp16(name: str, target: str) -> None:
    result, dla = form(quantized(name, f"{PRUNE},qat"), target)
    by_name = {node.name: node for node in result.graph.nodes}
    assert set(dla.fp16) <= set(by_name)
    assert dla.fp16  # nothing quantises the logits
    for node in result.graph.nodes:
        ends = [t.name for t in (*node.inputs, *node.outputs) if isinstance(t, gs.Variable)]
        if node.name in dla.fp16:
            assert node.name in (*dla.apart, *dla.left) or set(ends) & set(dla.unscaled)
        elif any(name in dla.scales for name in ends):
            assert all(t in dla.scales for t in ends if result.graph.tensors()[t].dtype == np.float32)
            assert node.op not in ("Concat", "MaxPool", "AveragePool") or spread(node, dla.scales) == 1
    for node in dla.apart:
        assert spread(by_name[node], dla.scales) > APART
    assert not set(dla.scales) & set(dla.unscaled)


def test_scales_are_those_of_the_pairs() -> None:
    before = compressed(from_proto(postactivation()), "qat")
    pairs = [pair for pair in graphs.quantizers(before.graph) if pair.weight is None]
    _, dla = form(before)
    for pair in pairs:
        factor = dla.raised.get(pair.source.name, 1.0)
        assert dla.scales[pair.source.name] == pytest.approx(float(pair.scale.values) * factor, rel=1e-7)
    assert [line.split(": ")[0] for line in dla.calibration.splitlines()[1:]] == list(dla.scales)
    assert dla.precisions == ",".join(f"{name}:fp16" for name in dla.fp16)
    for number, line in enumerate(dla.calibration.splitlines()[1:]):
        name, digits = line.rsplit(": ", 1)
        assert np.frombuffer(bytes.fromhex(digits), ">f4")[0] == np.float32(dla.scales[name]), number


def siblings() -> Model:
    """Two convolutions read one tensor, and a Concat both."""
    net = Builder(0)
    x = net.node("Relu", [conv(net, "input", "stem", 3, 16)], "start")
    parts = []
    for name in ("left", "right"):
        y = net.node("Relu", [conv(net, x, name, 16, 16)], f"{name}.relu", f"/{name}/Relu")
        parts.append(net.node("Relu", [conv(net, y, f"{name}.next", 16, 16)], f"{name}.end"))
    x = conv(net, net.node("Concat", parts, "joined", "/joined", axis=1), "last", 32, 16)
    return from_proto(net.model(head(net, x, "fc", 16, 10), 17, ("N", 3, 8, 8), 10))


@pytest.mark.parametrize("target", ["xavier-dla", "orin-dla"])
@pytest.mark.parametrize(
    ("build", "pattern", "left"),
    [
        (siblings, "left.weight", ("/left/Conv", "/left/Relu")),
        (siblings, "last.weight", ("/last/Conv",)),
        (
            NETWORKS["resnet"],
            "/layer1/layer1.0/conv1/Conv",
            ("/layer1/layer1.0/conv1/Conv", "/layer1/layer1.0/relu/Relu"),
        ),
        (
            NETWORKS["mobilenet"],
            "features.1.conv.1.0.weight",
            ("/features/1/conv/1/0/Conv", "/features/1/conv/1/2/Clip"),
        ),
    ],
)
def test_layers_left_float_run_in_fp16(
    build: Callable[[], Model], pattern: str, left: tuple[str, ...], target: str
) -> None:
    """Also where other readers of their input, and of their output, have given these scales."""
    _, dla = form(compressed(build(), f'qat{{exclude="{pattern}"}}'), target)
    assert dla.left == left
    assert set(dla.left) <= set(dla.fp16)
    assert any(f"{len(dla.left)} of them are left float ({dla.left[0]}" in line for line in dla.lines())
    _, whole = form(compressed(build(), "qat"), target)
    assert whole.left == ()
    assert set(dla.left) - set(whole.fp16)


def test_a_convolution_left_float_is_not_added_in_the_accumulator() -> None:
    layer = "/layer1/layer1.0/conv2/Conv"
    result, dla = form(compressed(NETWORKS["resnet"](), f"qat{{exclude={layer}}}"), "orin-dla")
    (node,) = (node for node in result.graph.nodes if node.name == layer)
    assert node.outputs[0].name in dla.unscaled
    assert list(dla.scales.values()).count(1.0) == 1  # the other block's
    assert {layer, "/layer1/layer1.0/Add"} <= set(dla.fp16)


@pytest.mark.parametrize("name", ["resnet", "mobilenet"])
def test_a_mean_over_height_and_width_becomes_windows_too(name: str) -> None:
    before = compressed(from_proto(means.with_mean(zoo.ALL[name]())), "qat")
    result, dla = form(before)
    ops = [node.op for node in result.graph.nodes]
    assert (dla.pools, ops.count("AveragePool"), ops.count("ReduceMean")) == (1, 1, 0)
    batch = images(before, 8)
    expected = logits(without_activations(before), batch)
    assert np.abs(expected - logits(result, batch)).max() <= 1e-5 * np.abs(expected).max()


def test_without_pairs_there_are_no_scales() -> None:
    result, dla = form(from_proto(zoo.resnet()))
    assert (dla.scales, dla.pairs, dla.coarser) == ({}, 0, 0)
    assert len(dla.fp16) == dla.layers
    batch = images(result, 4)
    expected = logits(from_proto(zoo.resnet()), batch)
    assert np.abs(expected - logits(result, batch)).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(("target", "count"), [("xavier-dla", 0), ("orin-dla", 2)])
def test_the_orin_adds_in_the_accumulator(target: str, count: int) -> None:
    _, dla = form(compressed(from_proto(zoo.resnet()), "qat"), target)
    assert list(dla.scales.values()).count(1.0) == count


def test_global_pooling_becomes_windows_up_to_8() -> None:
    for size, pools in ((16, 1), (64, 0)):  # maps of 8x8 and of 32x32 at the end
        result, dla = form(compressed(from_proto(zoo.resnet(size=size)), "qat"))
        ops = [node.op for node in result.graph.nodes]
        assert (dla.pools, ops.count("AveragePool"), ops.count("GlobalAveragePool")) == (
            pools,
            pools,
            1 - pools,
        )


def test_weights_that_do_not_reach_127_are_counted() -> None:
    before = compressed(from_proto(zoo.mlp()), "qat")
    assert form(before)[1].coarser == 0
    constants = before.constants()
    scale = constants["w1.scale"]
    values = scale.values.copy()
    values[:3] *= 2
    scale.values = values
    assert form(before)[1].coarser == 3


def test_a_pair_at_the_output_leaves_its_name() -> None:
    before = compressed(from_proto(zoo.mlp()), "qat")
    logits_name = before.logits.name
    graph = before.graph
    output = graph.outputs[0]
    inner = gs.Variable("inner", np.float32, output.shape)
    producer = output.inputs[0]
    producer.outputs = [inner]
    scale, zero = gs.Constant("s", np.array(0.5, np.float32)), gs.Constant("z", np.array(0, np.int8))
    integers = gs.Variable("inner.quantized", np.int8, output.shape)
    graph.nodes.append(gs.Node("QuantizeLinear", "q", {}, [inner, scale, zero], [integers]))
    graph.nodes.append(gs.Node("DequantizeLinear", "dq", {}, [integers, scale, zero], [output]))
    result, dla = form(before)
    assert result.logits.name == logits_name
    assert dla.scales["inner"] == dla.scales[logits_name] == 0.5
    assert dla.unscaled == ("product",)
    assert dla.fp16 == ("product", "logits")  # MatMul and Add


def test_names_do_not_break_the_list_of_layers() -> None:
    before = compressed(from_proto(zoo.mlp()), "qat")
    (node,) = (node for node in before.graph.nodes if node.op == "MatMul")
    node.name = "a:b,c d"
    _, dla = form(before)
    assert dla.fp16[0] == "a_b_c_d"


def test_the_lines_name_what_stays_fp16() -> None:
    model = pipeline.apply(
        from_proto(zoo.resnet()),
        recipe.parse("qat{exclude=/layer1/layer1.0/conv2/Conv}"),
        calibration=run.Observed(),
    )
    lines = form(model)[1].lines()
    assert lines[0].startswith("scales of ")
    assert lines[1].startswith("  FP16: ")
    assert "/layer1/layer1.0/conv2/Conv" in lines[1]
    assert lines[2].startswith("  because ")
