"""Networks and runs that the tests of :mod:`onnxcomp.deploy` share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from onnxcomp import graphs, pipeline, recipe, runtime
from onnxcomp.calibration import ImageCalibration
from onnxcomp.model import Model
from onnxcomp.passes.base import Placement
from onnxcomp.passes.prune import masks
from onnxcomp.passes.prune.patterns import Unstructured
from onnxcomp.passes.prune.plan import Group, Plan
from tests.builder import Builder, bn_relu, conv, head


def calibration(batch: np.ndarray) -> ImageCalibration:
    """Calibration on the images given."""
    return ImageCalibration(lambda: [batch], threads=1)


def images(model: Model, count: int = 8, seed: int = 1) -> np.ndarray:
    """float32 (count, C, H, W), standard normal."""
    shape = (model.batch or count, *model.image_shape)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def run(model: Model, batch: np.ndarray, tensors: Sequence[str]) -> list[np.ndarray]:
    """Values of the named tensors, computed node by node without ONNX Runtime's fusions."""
    computed = [name for name in tensors if name != model.image.name]
    values = {model.image.name: batch}
    if computed:
        session = runtime.session(model, outputs=computed, threads=1, optimize=False)
        values.update(zip(computed, session.run(computed, {model.image.name: batch}), strict=True))
    return [values[name] for name in tensors]


def logits(model: Model, batch: np.ndarray) -> np.ndarray:
    return run(model, batch, [model.logits.name])[0]


def compressed(model: Model, text: str, *, sparsity: float = 0.5, placement: Placement = "tensorrt") -> Model:
    """The compression form of ``model`` for recipe ``text``, its masks closed to ``sparsity``."""
    seen = calibration(images(model, seed=2))
    result = pipeline.apply(model, recipe.parse(text), calibration=seen, placement=placement)
    constants = result.constants()
    for name, mask in graphs.masks(result.graph).items():
        values = mask.values.copy()
        _close(name, constants[name].values, values, sparsity)
        mask.values = values
    return result


def _close(name: str, weight: np.ndarray, mask: np.ndarray, sparsity: float) -> None:
    group = Group((name,), sparsity)
    masks.close(Plan((group,), Unstructured()), group, lambda _: np.abs(weight), {name: mask}, sparsity)


def postactivation(opset: int = 17, *, seed: int = 0) -> onnx.ModelProto:
    """Conv -> BN -> Relu three times: one convolution is grouped and has a bias.

    In each BatchNormalization a third of the gammas is negative and one is 0.
    """
    net = Builder(seed)
    x = "input"
    blocks = ((3, 12, 1, False), (12, 12, 4, True), (12, 20, 1, False))
    for index, (cin, cout, group, bias) in enumerate(blocks):
        x = conv(net, x, f"block{index}.conv", cin, cout, group=group, bias=bias)
        x = bn_relu(net, x, f"block{index}.norm", cout)
    proto = net.model(head(net, x, "fc", 20, 10), opset, ("N", 3, 12, 12), 10)
    for tensor in proto.graph.initializer:
        if tensor.name.endswith("norm.weight"):
            values = numpy_helper.to_array(tensor).copy()
            values[::3] *= -1
            values[1] = 0
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return proto
