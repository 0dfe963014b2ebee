"""A network of one Gemm, data it can learn, and an engine for it in a few lines of numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnxcomp import pipeline, recipe
from onnxcomp.data import DataSet, ImageSet
from onnxcomp.data.statistics import Statistics
from onnxcomp.gradients import ImageGradients
from onnxcomp.model import Model, Role, from_proto
from onnxcomp.training.engine import Hidden, Rewrite, StepResult
from tests.builder import Builder
from tests.run import Observed

SIZE, CLASSES, IMAGES = 4, 3, 64
PRUNE = "prune{sparsity=0.5 frequency=3 keep_first=false keep_last=false}"


def linear(passes: str = "") -> Model:
    """``logits = weight @ image + bias``, in inference form or with ``passes`` applied."""
    net = Builder(0)
    x = net.node("Flatten", ["input"], "flat", axis=1)
    inputs = [
        x,
        net.constant("weight", net.he(CLASSES, 3 * SIZE * SIZE)),
        net.constant("bias", net.small(CLASSES)),
    ]
    x = net.node("Gemm", inputs, "product", "gemm", transB=1)
    model = from_proto(net.model(x, 17, ("N", 3, SIZE, SIZE), CLASSES))
    if not passes:
        return model
    image = np.random.default_rng(1).standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)
    gradients = ImageGradients(lambda: [(image, np.zeros(1, np.int64))], 1, threads=1)
    return pipeline.apply(model, recipe.parse(passes), calibration=Observed(), gradients=gradients)


def colours(classes: tuple[str, ...] = ("red", "green", "blue"), count: int = IMAGES) -> DataSet:
    """Images of noise in which one channel is brighter: its index is the label."""
    rng = np.random.default_rng(0)

    def images() -> ImageSet:
        labels = np.arange(count) % len(classes)
        pixels = rng.integers(0, 128, (count, SIZE, SIZE, 3))
        pixels[np.arange(count), :, :, labels % 3] += 60
        return ImageSet.from_arrays(pixels.astype(np.uint8), labels.astype(np.int64), classes)

    return DataSet("colours", images(), images(), Statistics((80.0, 80.0, 80.0), (50.0, 50.0, 50.0)))


class FakeEngine:
    """Softmax regression on ``weight * mask`` and ``bias``.

    Args:
        disturb: called with the number of the step and the engine after each step.
    """

    def __init__(self, model: Model, disturb: Callable[[int, FakeEngine], None] | None = None) -> None:
        constants = model.constants()
        self.parameters = {name: constants[name].values.copy() for name in model.roles}
        trained = [name for name, role in model.roles.items() if role is Role.TRAINABLE]
        self.gradients = {name: np.zeros_like(self.parameters[name]) for name in trained}
        self.trained = frozenset(trained)
        self.hidden: Hidden = {}
        self.rewrites: list[Rewrite] = []
        self.loss = 0.0
        self._steps = 0
        self._disturb = disturb

    def begin(self, step: int) -> None:
        pass

    def save(self, model: Model) -> None:
        for name, constant in model.constants().items():
            if name in self.parameters:
                constant.values = self.parameters[name]

    def step(self, images: np.ndarray, labels: np.ndarray, hidden: Hidden | None = None) -> StepResult:
        mask = self.parameters.get("weight.mask", np.float32(1))
        x = images.reshape(len(images), -1)
        logits = x @ (self.parameters["weight"] * mask).T + self.parameters["bias"]
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        self.loss = float(-np.log(shares[np.arange(len(labels)), labels]).mean())
        shares[np.arange(len(labels)), labels] -= 1
        self.gradients["weight"][...] = (shares.T @ x) * mask / len(labels)
        self.gradients["bias"][...] = shares.mean(0)
        self._steps += 1
        if self._disturb is not None:
            self._disturb(self._steps, self)
        return StepResult({"loss": self.loss, "loss/task": self.loss}, logits)


def fake(disturb: Callable[[int, FakeEngine], None] | None = None) -> Callable[..., FakeEngine]:
    """A ``build`` for the loop."""
    return lambda model, *, batch_size, threads, projected: FakeEngine(model, disturb)
