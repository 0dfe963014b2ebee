"""Run a network in ONNX Runtime, one thread, without graph optimisations unless asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from onnxcomp import extras, observed
from onnxcomp.calibration import ImageCalibration
from onnxcomp.model import LABELS, Model, to_proto
from onnxcomp.runtime import EXACT


def outputs(model: Model, images: np.ndarray, *, optimize: bool = False) -> dict[str, np.ndarray]:
    """Every output of ``model`` by name; labels are 0, 1, 2, ..."""
    runtime = extras.onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry(*EXACT)
    if not optimize:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(to_proto(model).SerializeToString(), options)
    feeds: dict[str, Any] = {model.image.name: images}
    if any(tensor.name == LABELS for tensor in model.graph.inputs):
        feeds[LABELS] = np.arange(len(images)) % model.num_classes
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def logits(model: Model, images: np.ndarray) -> np.ndarray:
    return outputs(model, images)[model.logits.name]


def images(model: Model, count: int = 4, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((model.batch or count, *model.image_shape)).astype(np.float32)


class Observed:
    """Calibration on random images, for tests of passes without a data set."""

    def __init__(self, count: int = 16) -> None:
        self.labels = np.arange(count, dtype=np.int64) % 10

    def observe(
        self, model: Model, tensors: Sequence[str], *, histogram: bool = True
    ) -> dict[str, observed.Observed]:
        return self._of(model).observe(model, tensors, histogram=histogram)

    def run(self, model: Model, tensors: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
        return self._of(model).run(model, tensors)

    def _of(self, model: Model) -> ImageCalibration:
        batch = images(model, len(self.labels), seed=1)
        return ImageCalibration(lambda: [batch], 1, self.labels % model.num_classes)
