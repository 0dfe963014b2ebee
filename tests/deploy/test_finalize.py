from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from onnx import numpy_helper

from onnxcomp import graphs, runtime
from onnxcomp.deploy.finalize import finalize, finalize_report
from onnxcomp.deploy.integer.kernels import NO_VNNI
from onnxcomp.deploy.targets import get_target
from onnxcomp.errors import ModelError
from onnxcomp.model import Form, Model, Preprocessing, from_proto, load, save, to_proto
from onnxcomp.passes.channels import find
from onnxcomp.passes.channels.masks import close
from onnxcomp.report.layers import layers
from tests import zoo
from tests.deploy.kinds import KINDS
from tests.deploy.networks import compressed, images, logits, postactivation
from tests.passes.channels.small import half

NETWORKS: dict[str, Callable[..., onnx.ModelProto]] = {**zoo.ALL, "postactivation": postactivation}
PRUNE = "prune{keep_first=false keep_last=false}"
RECIPES = ["", PRUNE, "qat", "distill", f"{PRUNE},qat", f"{PRUNE},qat,distill"]
FLOAT_TOLERANCE = 1e-5
FOLDED_INT8_DECIBEL = 45
FORMS = ("xavier", "orin", "ort-cpu")
"""A target of each form with Q/DQ: tensorrt-11 takes orin's; DLAs have theirs in tests/deploy/dla."""


def model(name: str, text: str = "", **options: int) -> Model:
    plain = from_proto(NETWORKS[name](**options))
    return compressed(plain, text) if text else plain


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(a).max())


def decibel(signal: np.ndarray, other: np.ndarray) -> float:
    """Signal to noise ratio of ``other`` in dB, noise floored at float32's."""
    noise = np.mean((signal - other).astype(np.float64) ** 2)
    return float(10 * np.log10(np.mean(signal.astype(np.float64) ** 2) / max(noise, 1e-20)))


@pytest.mark.parametrize("text", RECIPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_deployable_equals_compression(name: str, text: str) -> None:
    """For every form that has Q/DQ; float networks and unfolded INT8 to float32 rounding.

    Folding changes the last bit of what an activation is rounded from. One value in about 10^5 lies so
    close to a tie that it moves by one INT8 step, and a few such steps cost the logits about 57 dB,
    far less than the 23 to 40 dB of the quantization itself: hence 45 dB.
    """
    before = model(name, text)
    batch = images(before, 16)
    expected = logits(before, batch)
    for target in map(get_target, FORMS):
        unfolded = logits(finalize(before, target, fold=False), batch)
        assert relative(expected, unfolded) <= FLOAT_TOLERANCE
        answers = logits(finalize(before, target), batch)
        if "qat" in text:
            assert decibel(expected, answers) >= FOLDED_INT8_DECIBEL
        else:
            assert relative(expected, answers) <= FLOAT_TOLERANCE


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_is_what_the_target_takes(name: str, target: str) -> None:
    wanted = KINDS[target]
    before = model(name, f"{PRUNE},qat,distill", opset=21)
    proto = to_proto(finalize(before, wanted))
    onnx.checker.check_model(proto, full_check=True)
    assert proto.ir_version == 8
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [
        ("", min(21, wanted.max_opset))
    ]
    assert [t.name for t in proto.graph.input] == [before.image.name]
    assert [t.name for t in proto.graph.output] == [before.logits.name]
    assert not [n.name for n in proto.graph.node if n.name.startswith(("teacher/", "loss/", "prune/"))]
    used = {name for node in proto.graph.node for name in node.input}
    assert {tensor.name for tensor in proto.graph.initializer} <= used
    assert {info.name for info in proto.graph.value_info} <= {o for n in proto.graph.node for o in n.output}
    runtime.session(from_proto(proto), threads=1)


@pytest.mark.parametrize("target", FORMS)
def test_quantization_takes_the_targets_form(target: str) -> None:
    wanted = KINDS[target]
    before = model("postactivation", "qat")
    result = finalize(before, wanted)
    graph, stored_tensors = result.graph, to_proto(result).graph.initializer
    initializers = {tensor.name: numpy_helper.to_array(tensor) for tensor in stored_tensors}
    pairs = list(graphs.quantizers(graph))
    activations = [pair for pair in pairs if pair.weight is None]
    assert len(activations) == 5
    for node in graph.nodes:
        if node.op in ("QuantizeLinear", "DequantizeLinear"):
            assert len(node.inputs) == 3
            assert node.inputs[1].dtype == np.float32
            assert np.all(node.inputs[1].values > 0)
            assert ("axis" in node.attrs) == (node.inputs[1].values.ndim == 1)
            assert node.inputs[2].values.shape == node.inputs[1].values.shape
    zeros = {(str(p.quantize.inputs[2].dtype), int(p.quantize.inputs[2].values)) for p in activations}
    assert zeros == {(wanted.activations, 0 if wanted.activations == "int8" else 128)}
    for weight in graphs.weights(graph):
        stored = initializers[weight.tensor.name]
        assert stored.dtype == (np.float32 if wanted.weights == "float" else np.int8)
        bias = weight.node.inputs[2]
        assert isinstance(bias, gs.Constant)
        assert bias.dtype == np.float32
    assert len(pairs) - len(activations) == (4 if wanted.weights == "float" else 0)


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("text", [PRUNE, f"{PRUNE},qat"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_masked_weight_is_0_in_the_file(name: str, text: str, target: str) -> None:
    before = model(name, text)
    masks = graphs.masks(before.graph)
    result, report = finalize_report(before, get_target(target))
    constants = result.constants()
    for weight, mask in masks.items():
        stored = constants.get(weight) or constants[f"{weight}.quantized"]
        assert np.all(stored.values[mask.values == 0] == 0)
        assert not np.any(np.signbit(stored.values[mask.values == 0]))
    assert report.masks == len(masks)
    assert report.masked == sum(int((mask.values == 0).sum()) for mask in masks.values()) > 0


def test_a_weight_that_overflows_under_its_mask_is_0() -> None:
    before = model("postactivation", PRUNE)
    mask = graphs.masks(before.graph)["block0.conv.weight"]
    weight = before.constants()["block0.conv.weight"]
    weight.values = np.where(mask.values == 0, np.float32(np.inf), weight.values)
    stored = finalize(before, get_target("orin")).constants()["block0.conv.weight"].values
    assert np.all(stored[mask.values == 0] == 0)


def test_the_reports_numbers() -> None:
    before = model("densenet", f"{PRUNE},qat,distill", opset=18)
    report = finalize_report(before, get_target("xavier"))[1]
    assert (report.target, report.opset_before, report.opset_after) == ("xavier", 18, 17)
    # norm0 and the norm2 of four layers follow a convolution; norm1, transition and norm5 do not.
    assert len(report.folds.folded) == 5
    assert sorted(reason for _, reason in report.folds.kept) == [
        "it follows AveragePool, not a convolution",
        "it follows Concat, not a convolution",
        "it follows Concat, not a convolution",
        "it follows Concat, not a convolution",
        "it follows Concat, not a convolution",
        "it follows Relu, not a convolution",
    ]
    assert (report.masks, report.quantized_weights, report.quantized_activations) == (11, 11, 12)
    assert report.nodes_removed > len(from_proto(zoo.densenet(18)).graph.nodes)


def silenced(name: str, text: str, share: float, alignment: int = 1) -> tuple[Model, int]:
    """A network whose masks close about a share of its channels, and how many."""
    plain = from_proto((NETWORKS | zoo.MORE)[name]())
    result = compressed(plain, text, sparsity=0.0)
    closed = half(plain, share=share, alignment=alignment)
    masks = graphs.masks(result.graph)
    values = {name: mask.values.copy() for name, mask in masks.items()}
    close(find(plain.graph), values, np.array(closed))
    for name, mask in masks.items():
        mask.values = values[name]
    result.given["alignment"] = alignment
    return result, len(closed)


@pytest.mark.parametrize("text", [PRUNE, f"{PRUNE},qat,distill"])
@pytest.mark.parametrize("name", [*NETWORKS, "mobilenet_v3", "vgg"])
def test_channels_that_masks_closed_are_gone(name: str, text: str) -> None:
    """And the answers are those of the masked network, with Q/DQ to the last step of INT8."""
    before, count = silenced(name, text, 0.4)
    batch = images(before, 8)
    expected = logits(before, batch)
    for target in map(get_target, FORMS):
        result, report = finalize_report(before, target, fold=False)
        assert report.channels == count > 0
        assert relative(expected, logits(result, batch)) <= FLOAT_TOLERANCE
        assert sum(widths(result).values()) < sum(widths(before).values())
        folded = logits(finalize(before, target), batch)
        if "qat" in text:
            assert decibel(expected, folded) >= FOLDED_INT8_DECIBEL
        else:
            assert relative(expected, folded) <= FLOAT_TOLERANCE
        onnx.checker.check_model(to_proto(result), full_check=True)


def test_a_pattern_over_neighbouring_channels_is_not_broken() -> None:
    """Whose smallest inputs are all dead: without them, others would move into their groups of four."""
    plain = from_proto(zoo.mlp(hidden=128))
    values = plain.constants()["w2"].values.copy()
    values[::4] *= 1e-3
    plain.constants()["w2"].values = values
    text = "prune{pattern=2:4 schedule=one-shot keep_first=false keep_last=false}"
    before = compressed(plain, text)
    assert [layer.pattern for layer in layers(before)] == ["2:4", "2:4"]
    result, report = finalize_report(before, get_target("orin"))
    assert report.channels == 0
    assert [layer.pattern for layer in layers(result)] == ["2:4", "2:4"]


def widths(model: Model) -> dict[str, int]:
    """Output channels by weight."""
    return {w.name: int(w.tensor.shape[w.axis]) for w in graphs.weights(model.graph)}


@pytest.mark.parametrize("target", KINDS)
def test_widths_follow_what_the_file_says_before_what_the_target_wants(target: str) -> None:
    wanted = get_target(target).alignment
    assert wanted > 8
    before, count = silenced("densenet", PRUNE, 0.5, alignment=4)
    given, report = finalize_report(before, get_target(target))
    assert report.channels == count
    assert any(width % wanted for width in widths(given).values())
    before.given = {}
    result, report = finalize_report(before, get_target(target))
    assert report.channels < count
    for weight, width in widths(result).items():
        assert width % wanted == 0 or width == widths(before)[weight]
    batch = images(before, 8)
    for after in (given, result):
        assert relative(logits(before, batch), logits(after, batch)) <= FLOAT_TOLERANCE


@pytest.mark.parametrize("text", ["", PRUNE, "qat"])
def test_without_dead_channels_no_width_changes(text: str) -> None:
    before = model("densenet", text)
    result, report = finalize_report(before, get_target("ort-cpu"))
    assert report.channels == 0
    assert list(widths(result).values()) == list(widths(before).values())


@pytest.mark.parametrize("target", KINDS)
def test_the_model_given_is_not_changed(target: str) -> None:
    before = model("postactivation", f"{PRUNE},qat,distill", opset=21)
    bytes_before = to_proto(before).SerializeToString()
    finalize(before, get_target(target))
    assert to_proto(before).SerializeToString() == bytes_before


def test_metadata_travels_and_training_data_does_not(tmp_path: Path) -> None:
    before = model("postactivation", f"{PRUNE},qat,distill")
    before.preprocessing = Preprocessing((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    before.classes = tuple("abcdefghij")
    before.properties = {"author": "someone"}
    path = tmp_path / "d.onnx"
    save(finalize(before, get_target("orin")), path)
    after = load(path)
    assert after.form is Form.DEPLOYABLE
    assert (after.preprocessing, after.classes) == (before.preprocessing, before.classes)
    assert after.recipe == before.recipe
    assert after.properties == {"author": "someone"}
    assert (after.roles, after.losses) == ({}, {})


@pytest.mark.parametrize("name", ["densenet", "resnet", "mobilenet"])
def test_pairs_for_the_cpu_are_refused_for_tensorrt(name: str) -> None:
    before = compressed(from_proto(NETWORKS[name]()), "qat", placement="ort-cpu")
    assert finalize_report(before, get_target("ort-cpu"))[1].notes == ()
    for target in ("xavier", "orin"):
        with pytest.raises(ModelError, match=f"is UINT8, .*; apply qat with --target {target}$") as caught:
            finalize(before, get_target(target))
        assert "\n" not in str(caught.value)


def test_pairs_for_tensorrt_run_on_the_cpu_with_a_note() -> None:
    """As uint8 around 128: the same values, but not everything in integers."""
    before = model("densenet", "qat")
    after, report = finalize_report(before, get_target("ort-cpu"))
    assert report.integer is None
    assert report.kernels is not None
    assert report.kernels.floats != ()
    assert report.lines()[-1] == (
        "its Q/DQ stand where TensorRT wants them: apply qat with --target ort-cpu is faster here"
    )
    pairs = [pair for pair in graphs.quantizers(after.graph) if pair.weight is None]
    assert len(pairs) == report.quantized_activations
    assert {int(pair.quantize.inputs[2].values) for pair in pairs} == {128}


def test_the_report_says_what_runs_in_integers() -> None:
    before = compressed(from_proto(NETWORKS["densenet"]()), "qat", placement="ort-cpu")
    report = finalize_report(before, get_target("ort-cpu"))[1]
    assert report.lines() == [
        "6 BatchNormalization are depthwise convolutions now",
        "24 of 24 operators in integer kernels",
        NO_VNNI,
    ]
    for target in KINDS:
        plain = finalize_report(model("densenet"), get_target(target))[1]
        assert (plain.kernels, plain.notes) == (None, ())
        assert plain.lines() == []


def test_unfolded_pairs_for_the_cpu_round_as_before() -> None:
    before = compressed(from_proto(NETWORKS["densenet"]()), "qat", placement="ort-cpu")
    batch = images(before, 16)
    after, report = finalize_report(before, get_target("ort-cpu"), fold=False)
    assert (report.integer, report.folds.folded) == (None, ())
    assert relative(logits(before, batch), logits(after, batch)) <= FLOAT_TOLERANCE


def test_twice_is_refused() -> None:
    deployable = finalize(model("mlp"), get_target("orin"))
    with pytest.raises(ModelError, match="model: is deployable already"):
        finalize(deployable, get_target("orin"))


def test_an_operator_beyond_the_target_is_refused_with_its_node() -> None:
    before = model("postactivation", opset=20)
    relu = next(node for node in before.graph.nodes if node.op == "Relu")
    relu.op, relu.attrs["axes"] = "CenterCropPad", [2, 3]
    relu.inputs.append(gs.Constant("sizes", np.array(relu.outputs[0].shape[2:])))
    with pytest.raises(ModelError, match=f"node {relu.name}: CenterCropPad .* opset 17"):
        finalize(before, get_target("xavier"))
    assert finalize(before, get_target("orin")).graph.opset == 20
