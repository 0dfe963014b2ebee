"""Tests of onnxcomp.training.lowering.kernels: fake quantisation is Q/DQ bit for bit."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxcomp import extras
from onnxcomp.training.lowering.integer_kernels import use_integer_kernels
from tests.training import networks
from tests.training.lowering import pairs

RANGES = [(-128, 127, 0, np.int8), (-128, 127, 5, np.int8), (-127, 127, 0, np.int8), (-7, 7, 0, np.int8)]
RANGES += [(0, 255, zero, np.uint8) for zero in (0, 1, 100, 128, 255)]  # type: ignore[misc]
Session = onnx.ModelProto


def values(rng: np.random.Generator, scale: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Of all sizes, ties and ends of ranges among them, and what lies next to them."""
    steps = rng.normal(0, 10.0 ** rng.uniform(-1, 3), shape).astype(np.float32)
    halves = rng.integers(-600, 600, shape) / np.float32(2)
    x = np.where(rng.random(shape) < 0.5, steps, halves.astype(np.float32)) * scale
    moved = np.nextafter(x, np.float32(np.inf) * rng.choice([-1, 1], shape)).astype(np.float32)
    return np.where(rng.random(shape) < 0.2, moved, x).astype(np.float32)


def run(nodes: list[onnx.NodeProto], names: list[str], feeds: dict, constants: dict, kernels: bool) -> list:
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n, a in feeds.items()]
    outputs = [helper.make_empty_tensor_value_info(name) for name in names]
    stored = [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, stored)
    if kernels:
        assert use_integer_kernels(graph) == 1
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    ort = extras.onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(names, feeds)


@pytest.mark.parametrize(("low", "high", "zero", "dtype"), RANGES)
@pytest.mark.parametrize("seed", range(4))
def test_arrays_of_one_scale(low: int, high: int, zero: int, dtype: type, seed: int) -> None:
    rng = np.random.default_rng([seed, zero, high])
    scale = np.asarray(10 ** rng.uniform(-4, 1), np.float32)
    x = values(rng, scale, (40, 50))
    feeds = {"x": x, "s": scale}
    fake = helper.make_node(
        "FakeQuant", ["x", "s", "z"], ["y", "inside"], domain="com.microsoft", quant_min=low, quant_max=high
    )
    constants = {"z": np.float32(zero)}
    slow = run([fake], ["y", "inside"], feeds, constants, kernels=False)
    fast = run([fake], ["y", "inside"], feeds, constants, kernels=True)
    assert slow[0].tobytes() == fast[0].tobytes()
    levels = x.astype(np.float64) / scale + zero  # limits are products, which round in another way
    limit = np.minimum(np.abs(levels - high - 0.5), np.abs(levels - low + 0.5)) <= 1e-4
    np.testing.assert_array_equal(slow[1] | limit, fast[1] | limit)
    assert not slow[1].all()
    integers = np.clip(np.rint(x / scale) + zero, low, high) - zero
    assert (integers.astype(np.float32) * scale).tobytes() == (fast[0] + np.float32(0)).tobytes()
    limits = np.iinfo(dtype)
    if (low, high) == (limits.min, limits.max):
        pair = [
            helper.make_node("QuantizeLinear", ["x", "s", "zero"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "zero"], ["y"]),
        ]
        (file,) = run(pair, ["y"], feeds, {"zero": np.asarray(zero, dtype)}, kernels=False)
        assert file.tobytes() == fast[0].tobytes()


@pytest.mark.parametrize("placement", ["tensorrt", "ort-cpu"])
@pytest.mark.parametrize("name", ["densenet", "resnet", "mobilenet", "mlp"])
@pytest.mark.parametrize("options", ["", "scales=learned", "weight_bits=3"])
def test_every_pair_of_a_step_is_that_of_the_file(name: str, placement: str, options: str) -> None:
    """What QuantizeLinear and DequantizeLinear make of the same values, on weights and activations."""
    model = networks.zoo_compression(name, f"qat{{placement={placement} {options}}}")
    step = pairs.run(model)
    zeros = set()
    for pair in step.pairs:
        dtype = np.uint8 if pair.low == 0 else np.int8
        zeros.add((dtype, pair.zero))
        axis = next((i for i, size in enumerate(pair.values.shape) if size > 1), 0)
        scale = pair.values.reshape(-1) if pair.values.ndim else pair.values
        zero = np.full(scale.shape, pair.zero, dtype)
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=axis),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=axis),
        ]
        (file,) = run(nodes, ["y"], {"x": pair.source, "s": scale}, {"z": zero}, kernels=False)
        assert file.tobytes() == pair.result.tobytes(), pair.name
    assert (np.int8, 0) in zeros
    assert any(dtype is np.uint8 for dtype, _ in zeros) == (placement == "ort-cpu")
