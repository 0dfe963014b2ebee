"""Mended files compute the same numbers, and lint is content with what was broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxcomp import runtime
from onnxcomp.deploy.finalize import finalize_report
from onnxcomp.deploy.lint import lint
from onnxcomp.deploy.lint.mend import mend
from onnxcomp.deploy.targets import get_target
from onnxcomp.deploy.write import write
from onnxcomp.model import from_proto
from tests import vit, zoo
from tests.deploy import networks as deployables
from tests.deploy.lint.networks import SIZE, Net, good
from tests.deploy.networks import compressed


def run(proto: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    """Node by node, without ONNX Runtime's fusions."""
    session = runtime.session_of_proto(proto.SerializeToString(), threads=1, optimize=False)
    return np.asarray(session.run(None, {session.get_inputs()[0].name: images})[0])


def images(shape: tuple[int, ...] = (3, 16, 8, 8)) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def stored(net: Net, x: str) -> None:
    """Store the quantised constant ``x`` as INT8 in front of DequantizeLinear alone."""
    weight, scale = (numpy_helper.to_array(net.constants[name]) for name in (x, f"{x}.scale"))
    shape = [-1] + [1] * (weight.ndim - 1) if scale.ndim else []
    integers = np.clip(np.rint(weight / scale.reshape(shape)), -128, 127)
    del net.constants[x], net.nodes[f"{x}.q"]
    net.constant(f"{x}.q", integers, np.int8)


def int8_weight(net: Net) -> None:
    stored(net, "conv2.w")


def int8_weight_of_three_scales(net: Net) -> None:
    stored(net, "conv2.w")
    net.constant("conv2.w.scale", np.ones(3))
    net.constant("conv2.w.zero", np.zeros(3), np.int8)


def bias_of_three_scales(net: Net) -> None:
    integer_bias(net)
    net.constant("conv2.b.s", np.ones(3))


def int8_weight_without_zero(net: Net) -> None:
    stored(net, "conv2.w")
    del net.nodes["conv2.w.dq"].input[2]


def integer_bias(net: Net) -> None:
    values = numpy_helper.to_array(net.constants.pop("conv2.b"))
    net.constant("conv2.b.i", np.rint(values / 0.001), np.int32)
    net.constant("conv2.b.s", 0.001)
    nodes, net.nodes = net.nodes, {}
    net.node("DequantizeLinear", "conv2.b", ["conv2.b.i", "conv2.b.s"])
    net.nodes |= nodes


def unsigned(net: Net) -> None:
    net.constant("relu1.zero", 128, np.uint8)


def no_axis(net: Net) -> None:
    for name in ("conv2.w.q", "conv2.w.dq"):  # as many inputs as outputs: axis 1 fits too
        net.set(name, axis=None)


def newer_opset(net: Net) -> None:
    net.opset = 18


BROKEN: dict[str, tuple[Callable[[Net], None], str, str]] = {
    "bias": (integer_bias, "bias", "1 biases behind DequantizeLinear are float32 numbers now"),
    "int8 weight": (int8_weight, "int8-weight", "weights are float32 in front of QuantizeLinear"),
    "no zero point": (
        int8_weight_without_zero,
        "qdq-inputs",
        "1 DequantizeLinear without a zero point say 0",
    ),
    "unsigned": (unsigned, "integer-type", "1 UINT8 pairs around 128 are INT8 around 0"),
    "no axis": (no_axis, "axis-missing", "2 Q and DQ per channel say their axis"),
    "opset": (newer_opset, "opset", "the opset is that of the target"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_mended_is_the_same_and_found_no_more(name: str, tmp_path: Path) -> None:
    break_it, rule, text = BROKEN[name]
    net, xavier = good(), get_target("xavier")
    break_it(net)
    path = net.save(tmp_path)
    assert rule in {one.rule for one in lint(path, xavier, run=False).findings if one.severity == "error"}
    mended = mend(path, xavier)
    assert any(text in line for line in mended.done)
    assert mended.left == ()
    onnx.save(mended.proto, tmp_path / "mended.onnx")
    assert rule not in {one.rule for one in lint(tmp_path / "mended.onnx", xavier, run=False).findings}
    batch = images()
    assert np.array_equal(run(onnx.load(path), batch), run(mended.proto, batch))


@pytest.mark.parametrize("break_it", [int8_weight_of_three_scales, bias_of_three_scales])
def test_scales_that_do_not_fit_are_left_and_found(break_it: Callable[[Net], None], tmp_path: Path) -> None:
    net, xavier = good(), get_target("xavier")
    break_it(net)
    path = net.save(tmp_path)
    mended = mend(path, xavier)
    assert not any("float32" in line for line in mended.done)
    onnx.save(mended.proto, tmp_path / "mended.onnx")
    assert lint(tmp_path / "mended.onnx", xavier, run=False).errors


def test_a_good_file_stays_as_it_is(tmp_path: Path) -> None:
    path = good().save(tmp_path)
    mended = mend(path, get_target("xavier"))
    assert (mended.done, mended.left) == ((), ())
    assert np.array_equal(run(onnx.load(path), images()), run(mended.proto, images()))


@pytest.mark.parametrize("name", ["resnet", "densenet", "mobilenet"])
@pytest.mark.parametrize("source", ["orin", "tensorrt-11"])
def test_a_file_for_a_newer_tensorrt_is_one_for_the_xavier(name: str, source: str, tmp_path: Path) -> None:
    model = compressed(from_proto(zoo.ALL[name](opset=18)), "qat")
    path = tmp_path / "d.onnx"
    write(*finalize_report(model, get_target(source)), path)
    xavier = get_target("xavier")
    assert lint(path, xavier, run=False).errors > 0
    mended = mend(path, xavier)
    onnx.save(mended.proto, tmp_path / "x.onnx")
    report = lint(tmp_path / "x.onnx", xavier, run=False)
    assert report.errors == 0, report.findings
    batch = deployables.images(model)
    assert np.array_equal(run(onnx.load(path), batch), run(mended.proto, batch))
    assert mended.proto.metadata_props == onnx.load(path).metadata_props


def test_a_layer_normalisation_is_written_out_where_there_is_none(tmp_path: Path) -> None:
    proto = vit.vit()
    path = tmp_path / "v.onnx"
    onnx.save(proto, path)
    mended = mend(path, get_target("xavier"))
    assert any("LayerNormalization are written out" in line for line in mended.done)
    assert not any(node.op_type == "LayerNormalization" for node in mended.proto.graph.node)
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    batch = images((2, *(dim.dim_value for dim in dims[1:])))
    np.testing.assert_allclose(run(proto, batch), run(mended.proto, batch), rtol=0, atol=1e-5)


def test_what_cannot_be_lowered_stays_and_is_said(tmp_path: Path) -> None:
    net = good(20)
    net.insert("CenterCropPad", "crop", "add", [net.constant("sizes", [SIZE, SIZE], np.int64)], axes=[2, 3])
    path = net.save(tmp_path)
    mended = mend(path, get_target("xavier"))
    assert len(mended.left) == 1
    assert mended.left[0].startswith("the opset stays 20: node crop: CenterCropPad ")
    assert mended.proto.opset_import[0].version == 20
    assert np.array_equal(run(onnx.load(path), images()), run(mended.proto, images()))


def test_what_is_not_symmetric_is_left(tmp_path: Path) -> None:
    """Another quantisation would be needed."""
    net = good()
    net.constant("relu1.zero", 3, np.int8)
    path, xavier = net.save(tmp_path), get_target("xavier")
    mended = mend(path, xavier)
    onnx.save(mended.proto, tmp_path / "m.onnx")
    assert {one.rule for one in lint(tmp_path / "m.onnx", xavier, run=False).findings} == {"zero-point"}
    assert np.array_equal(run(onnx.load(path), images()), run(mended.proto, images()))
