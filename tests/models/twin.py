"""Compare a network with its twin in PyTorch: the same parameters by PyTorch's names, the same answers.

Numbers come from a hash of integers, so that answers of PyTorch written down here stay comparable where it
is not installed: no version of a random generator changes them.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors.numpy import save_file

from onnxcomp.model import Model, from_proto, to_proto
from onnxcomp.models.base import Architecture
from onnxcomp.models.weights import load_weights
from tests import float64, run

CLASSES = 4
TOLERANCE = 1e-5  # of the largest logit


def build(net: Architecture, size: int, stem: str | None = None) -> Model:
    stem = stem or net.stem
    return from_proto(net.proto("net", num_classes=CLASSES, input_size=size, stem=stem, seed=0))


def draw(shape: tuple[int, ...], key: str) -> np.ndarray:
    """Uniform in -1 to 1, float32, by integer arithmetic alone."""
    x = np.arange(np.prod(shape), dtype=np.uint32) + np.uint32(zlib.crc32(key.encode()))
    for _ in range(2):
        x = (x ^ (x >> np.uint32(16))) * np.uint32(0x45D9F3B)
    x ^= x >> np.uint32(16)
    return (x.astype(np.float64) / 2**31 - 1).astype(np.float32).reshape(shape)


def parameters(model: Model) -> dict[str, np.ndarray]:
    """Other values for every parameter: by PyTorch's names, and turned as PyTorch keeps a Linear."""
    turned = {node.inputs[1].name for node in model.graph.nodes if node.op == "MatMul"}
    arrays = {}
    for name, constant in model.constants().items():
        if constant.dtype != np.float32 or not constant.shape:
            continue
        shape = tuple(constant.shape)[::-1] if name in turned else tuple(constant.shape)
        values = draw(shape, name)
        if len(shape) == 1:
            scale = name.endswith(("weight", "running_var"))
            arrays[name] = 1 + values / 2 if scale else values / 10
        else:
            fan_in = int(np.prod(shape[1:]))
            arrays[name] = (values * np.sqrt(6 / fan_in)).astype(np.float32)
    return arrays


def load(model: Model, folder: Path) -> None:
    """Give it :func:`parameters`, from a file."""
    path = folder / "weights.safetensors"
    save_file({name: np.ascontiguousarray(values) for name, values in parameters(model).items()}, path)
    load_weights(model, path)


def logits(model: Model, folder: Path) -> np.ndarray:
    """Of two images, with :func:`parameters` loaded from a file: float32 (2, CLASSES)."""
    load(model, folder)
    return run.logits(model, images(model))


def images(model: Model) -> np.ndarray:
    return 1.7 * draw((2, *model.image_shape), "images")


def assert_recorded(net: Architecture, size: int, stem: str, folder: Path, expected: list[float]) -> None:
    """Valid, and the second image's logits are those that PyTorch's twin gave in float64."""
    model = build(net, size, stem)
    onnx.checker.check_model(to_proto(model), full_check=True)
    load(model, folder)
    found = float64.logits(model, images(model))[1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


def assert_twins(net: Architecture, size: int, stem: str, folder: Path, module: Any) -> None:
    """Every parameter has PyTorch's name and shape, and the answers are PyTorch's in float64."""
    torch = pytest.importorskip("torch")
    model = build(net, size, stem)
    state = {name: torch.from_numpy(values) for name, values in parameters(model).items()}
    own = {n: v for n, v in module.state_dict().items() if not n.endswith("num_batches_tracked")}
    assert {n: tuple(v.shape) for n, v in state.items()} == {n: tuple(v.shape) for n, v in own.items()}
    module.load_state_dict(state, strict=False)
    with torch.no_grad():
        expected = module.double().eval()(torch.from_numpy(images(model)).double()).numpy()
    largest = np.abs(expected).max()
    assert 0.1 < largest < 30
    np.testing.assert_allclose(logits(model, folder), expected, rtol=0, atol=TOLERANCE * largest)
