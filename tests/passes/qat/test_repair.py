"""Repairs together: each makes up for what those before it have left, not for what they have mended."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnxcomp import graphs, pipeline, recipe
from onnxcomp.calibration import ImageCalibration
from onnxcomp.model import Model, from_proto
from onnxcomp.passes.qat.sqnr import logits, sqnr
from tests import run, zoo
from tests.classifiers import NETWORKS
from tests.passes.qat import disaster

EVERY: dict[str, Callable[[], Model]] = {
    "densenet": lambda: from_proto(zoo.densenet()),
    "densenet, another": lambda: from_proto(zoo.densenet(growth=6)),
    "mobilenet_v3": lambda: from_proto(zoo.mobilenet_v3()),
    "resnet18": NETWORKS["resnet18"],
}


def calibration(model: Model) -> ImageCalibration:
    images = [run.images(model, 16, seed=seed) for seed in range(4)]
    return ImageCalibration(lambda: images, 1)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("name", EVERY)
def test_bias_correction_and_statistics_are_not_applied_twice(name: str, bits: int) -> None:
    model = EVERY[name]()
    seen = calibration(model)
    exact = logits(model, seen)

    def measured(options: str) -> float:
        text = f"qat{{calibration=max weight_bits={bits} {options}}}"
        return sqnr(exact, logits(pipeline.apply(model, recipe.parse(text), calibration=seen), seen))

    alone = measured("bias_correction=true")
    both = measured("bias_correction=true reestimate_bn=true")
    # Each is left out where it would make the logits worse; the second sees other roundings than alone.
    assert both > measured("") - 0.05
    assert both > alone - 2


@pytest.mark.parametrize("repair", ["bias_correction", "reestimate_bn"])
def test_what_is_left_float_altogether_is_the_float_network(repair: str) -> None:
    model = disaster.spread(from_proto(zoo.densenet()))
    seen = calibration(model)
    text = f"qat{{weight_bits=2 float_layers=auto max_drop=0 {repair}=true}}"
    after = pipeline.apply(model, recipe.parse(text), calibration=seen)
    images = run.images(model, 8)
    left = sum(1 for pair in graphs.quantizers(after.graph) if pair.weight is not None)
    if not left:
        np.testing.assert_allclose(run.logits(after, images), run.logits(model, images), rtol=1e-6)
    answers = [np.concatenate(logits(one, seen)).argmax(1) for one in (model, after)]
    assert np.mean(answers[0] == answers[1]) >= 0.95
