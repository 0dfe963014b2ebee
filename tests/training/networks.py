"""Compression forms of the zoo's networks, and helpers to compare engines with the reference."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxcomp import pipeline, recipe
from onnxcomp.calibration import ImageCalibration
from onnxcomp.model import Model, Role, from_proto
from onnxcomp.training.engine import Engine
from tests import zoo
from tests.float64 import Float64

BATCH, SIZE, CLASSES = 4, 8, 10


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
    calibration = ImageCalibration(lambda: images, threads=1)
    return pipeline.apply(model, recipe.parse(passes), calibration=calibration)


def zoo_compression(name: str, passes: str = "", **options: Any) -> Model:
    return compression(zoo.ALL[name](**{"size": SIZE, **options}), passes)


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
    rounding (a bias before a BatchNormalization) are measured against 1e-6.
    """
    images, labels = batch(size=model.image_shape[1])
    parameters = {name: values.astype(np.float64) for name, values in engine.parameters.items()}
    reference = Float64(model, images, labels)
    (loss,) = reference(parameters, ["loss"])  # records the rounding errors at this point
    result = engine.step(images, labels)
    np.testing.assert_allclose(result.losses["loss"], loss, rtol=1e-5)
    rng = np.random.default_rng(9)
    errors = {}
    for name, gradient in engine.gradients.items():
        norm = max(float(np.linalg.norm(gradient)), 1e-6)
        worst = 0.0
        for _ in range(directions):
            direction = rng.standard_normal(gradient.shape)
            step = 1e-7
            ends = [
                reference({**parameters, name: parameters[name] + sign * step * direction}, ["loss"])[0]
                for sign in (1, -1)
            ]
            expected = (ends[0] - ends[1]) / (2 * step)
            worst = max(worst, abs(float((gradient * direction).sum()) - expected) / norm)
        errors[name] = worst
    return errors
