"""Compression forms of the zoo's networks, and helpers to compare engines with the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from onnxcomp import pipeline, recipe
from onnxcomp.calibration import ImageCalibration
from onnxcomp.gradients import ImageGradients
from onnxcomp.grams import ImageGrams
from onnxcomp.model import Model, Role, from_proto
from onnxcomp.training.engine import Engine, build
from tests import zoo
from tests.builder import Builder, conv, head
from tests.float64 import Float64

BATCH, SIZE, CLASSES = 4, 8, 10
TOLERANCE = 1e-4  # of gradients, relative, per tensor; measured: at most 2e-5


def batch(seed: int = 0, size: int = SIZE, batch_size: int = BATCH) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels."""
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((batch_size, 3, size, size)).astype(np.float32)
    return images, rng.integers(0, CLASSES, batch_size)


def compression(proto: Any, passes: str = "") -> Model:
    """The compression form of ``proto``, calibrated on random images."""
    model = from_proto(proto)
    if not passes:
        return pipeline.with_task_loss(model)
    images = [batch(seed, model.image_shape[1])[0] for seed in (1, 2)]
    labelled = [batch(seed, model.image_shape[1], 1) for seed in (1, 2)]
    return pipeline.apply(
        model,
        recipe.parse(passes),
        calibration=ImageCalibration(lambda: images, threads=1),
        grams=ImageGrams(lambda: images, threads=1),
        gradients=ImageGradients(lambda: labelled, 1, threads=1),
    )


def zoo_compression(name: str, passes: str = "", **options: Any) -> Model:
    return compression((zoo.ALL | zoo.MORE)[name](**{"size": SIZE, **options}), passes)


def disturb(engine: Engine, model: Model, seed: int = 5) -> None:
    """Move the student away from its teacher and switch a third of the masked weights off."""
    rng = np.random.default_rng(seed)
    for name, role in model.roles.items():
        if role is Role.MASK:
            mask = engine.parameters[name]
            mask[...] = rng.random(mask.shape) > 1 / 3
        elif role is Role.TRAINABLE:
            values = engine.parameters[name]
            values[...] *= rng.uniform(0.8, 1.0, values.shape)


def worst_gradient_error(engine: Engine, model: Model, directions: int = 3) -> dict[str, float]:
    """Relative error of each gradient against central differences of the float64 reference.

    For a random direction v of independent standard normal numbers, ``(g - g_ref) . v`` estimates the
    norm of the error, so each estimate is divided by the norm of g. Gradients that are zero but for
    rounding (a bias before a BatchNormalization: below 1e-5 of the largest) are measured against a
    hundredth of the largest.
    """
    images, labels = batch(size=model.image_shape[1])
    parameters = {name: values.astype(np.float64) for name, values in engine.parameters.items()}
    reference = Float64(model, images, labels)
    (loss,) = reference(parameters, ["loss"])  # records the rounding errors at this point
    result = engine.step(images, labels)
    np.testing.assert_allclose(result.losses["loss"], loss, rtol=1e-5)
    rng = np.random.default_rng(9)
    errors = {}
    largest = max(float(np.linalg.norm(gradient)) for gradient in engine.gradients.values())
    for name, gradient in engine.gradients.items():
        norm = float(np.linalg.norm(gradient))
        norm = norm if norm > 1e-5 * largest else largest / 100

        def at(values: np.ndarray, name: str = name) -> float:
            return float(reference({**parameters, name: values}, ["loss"])[0])

        found = [slope(at, parameters[name], float(loss), 3e-5 * norm, rng) for _ in range(directions)]
        errors[name] = max(abs(float((gradient * v).sum()) - slope) / norm for v, slope in found)
    return errors


def slope(
    at: Callable[[np.ndarray], float], start: np.ndarray, loss: float, slack: float, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """A random direction and the derivative along it.

    A direction on which a Relu or MaxPool switches within the step has different slopes on its two
    sides and is drawn again.
    """
    step = 3e-8
    for _ in range(20):
        direction = rng.standard_normal(start.shape)
        ahead, behind = at(start + step * direction), at(start - step * direction)
        if abs((ahead - loss) - (loss - behind)) / step <= slack + 2e-7:
            return direction, (ahead - behind) / (2 * step)
    raise AssertionError("no direction without a kink")


def assert_gradients(model: Model) -> None:
    """Every trainable of ``model`` has the gradient of the float64 reference, at a disturbed point."""
    engine = build(model, batch_size=BATCH, threads=1)
    disturb(engine, model)
    errors = worst_gradient_error(engine, model)
    assert set(errors) == {n for n, role in model.roles.items() if role is Role.TRAINABLE}
    worst = max(errors, key=errors.__getitem__)
    assert errors[worst] <= TOLERANCE, worst


def residual(opset: int = 17) -> Any:
    """Folded BatchNormalization: strided stem, MaxPool, a block with a strided shortcut, Sum, Gemm."""
    net = Builder(6)  # a seed without ties in the MaxPool, which quantised sums are prone to
    x = net.node("Relu", [conv(net, "input", "stem", 3, 8, stride=2, bias=True)], "stem.out")
    x = net.node("MaxPool", [x], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    y = net.node("Relu", [conv(net, x, "a", 8, 12, stride=2, bias=True)], "a.out")
    y = conv(net, y, "b", 12, 12, bias=True)
    x = conv(net, x, "shortcut", 8, 12, kernel=1, stride=2, bias=True)
    x = net.node("Relu", [net.node("Add", [x, y], "join")], "join.out")
    return net.model(head(net, x, "fc", 12, CLASSES), opset, ("N", 3, 16, 16), CLASSES)


def around(op: str, extra: tuple[str, ...] = (), width: int = 6, opset: int = 17, **attributes: Any) -> Any:
    """Conv, the node under test, Conv, pooled and classified; ``extra`` are more inputs of the node.

    In ``extra``, ``+`` stands for a second branch and anything else for a number.
    """
    net = Builder(4)
    x = conv(net, "input", "first", 3, width, bias=True)
    inputs = [x]
    for index, word in enumerate(extra):
        if word == "+":
            inputs.append(conv(net, "input", f"branch{index}", 3, width, bias=True))
        else:
            inputs.append(net.constant(f"number{index}", np.array(float(word), np.float32)))
    x = net.node(op, inputs, "tested.out", "tested", **attributes)
    x = conv(net, x, "second", width, 8, bias=True)
    return net.model(head(net, x, "fc", 8, CLASSES), opset, ("N", 3, SIZE, SIZE), CLASSES)
