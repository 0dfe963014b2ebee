"""Bias correction against layer after layer in numpy, and what it does for the answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnxcomp import graphs, pipeline, recipe
from onnxcomp.calibration import ImageCalibration
from onnxcomp.errors import PassError
from onnxcomp.model import Model, from_proto
from onnxcomp.passes.qat.bias_correction import correct_bias, mean_errors
from onnxcomp.passes.qat.bias_sites import sites
from onnxcomp.passes.qat.sqnr import logits, sqnr
from tests import run, zoo
from tests.classifiers import NETWORKS
from tests.passes.qat.scaling.scaled import changed

EVERY: dict[str, Callable[[], Model]] = {
    **{name: lambda build=build: from_proto(build()) for name, build in {**zoo.ALL, **zoo.MORE}.items()},  # type: ignore[misc]
    **{name: NETWORKS[name] for name in ("resnet18", "mobilenet_v2", "vgg11_bn")},
}
BATCHES = (12, 12, 8)


def calibration(model: Model) -> ImageCalibration:
    images = [run.images(model, count, seed=seed) for seed, count in enumerate(BATCHES)]
    return ImageCalibration(lambda: images, 1)


def biased(name: str, share: float = 0.6) -> tuple[Model, Model]:
    """A network and its quantised form, of which all weights round down: every layer has a mean error."""
    model = EVERY[name]()
    after = pipeline.apply(model, recipe.parse("qat{calibration=max}"), calibration=calibration(model))
    for pair in graphs.quantizers(after.graph):
        if pair.weight is not None:
            step = graphs.along(pair.scale.values, pair.axis, len(pair.weight.shape))
            pair.weight.values = (pair.weight.values - share * step).astype(np.float32)
    return model, after


@pytest.mark.parametrize("name", EVERY)
def test_answers_come_nearer(name: str) -> None:
    model, after = biased(name)
    seen = calibration(model)
    exact = logits(model, seen)
    before = sqnr(exact, logits(after, seen))
    errors = mean_errors(after, model, seen, correcting=False)
    (note,) = correct_bias(after, model, seen)
    assert note.startswith(
        f"{len(list(sites(after.graph)))} biases corrected: SQNR of the logits {before:.1f}"
    )
    assert sqnr(exact, logits(after, seen)) > before
    left = mean_errors(after, model, seen, correcting=False)
    # Means over all images of every corrected output: most of the error is gone.
    assert sum(np.abs(e).sum() for e in left.values()) < 0.5 * sum(np.abs(e).sum() for e in errors.values())


@pytest.mark.parametrize("name", ["densenet", "resnet", "mobilenet", "mlp"])
def test_one_pass_finds_what_layer_after_layer_would(name: str) -> None:
    model, after = biased(name)
    images = run.images(model, 16)
    alone = ImageCalibration(lambda: [images], 1)
    found = mean_errors(after, model, alone, correcting=True)
    steps = after.copy()
    for index, site in enumerate(list(sites(after.graph))):
        site = list(sites(steps.graph))[index]
        name = site.tensor.name
        values = []
        for one in (steps, model):
            inside = one.copy()
            inside.graph.outputs = [inside.graph.tensors()[name]]
            inside.graph.cleanup(remove_unused_graph_inputs=True)
            values.append(run.outputs(inside, images)[name].astype(np.float64))
        axes = tuple(axis for axis in range(values[0].ndim) if axis != site.axis % values[0].ndim)
        error = (values[0] - values[1]).mean(axis=axes)
        # Roundings of activations that fall to the other side: a few of thousands of values.
        np.testing.assert_allclose(found[name], error, atol=0.03 * np.abs(values[1]).std())
        site.add(-error, set(steps.graph.tensors()))


def test_it_is_left_out_where_it_would_not_help() -> None:
    model, after = biased("densenet", share=0)
    seen = calibration(model)

    # Other images while the error is measured, which the first of its passes does.
    calls = iter(range(100))
    wrong = [images * 50 + 20 for images in seen.batches()]
    misled = ImageCalibration(lambda: wrong if next(calls) == 0 else seen.batches(), 1)
    unchanged = after.copy()
    (note,) = correct_bias(after, model, misled)
    assert note.startswith("bias correction left out, it would not help: SQNR of the logits ")
    assert not changed(unchanged, after)


def test_nothing_to_correct() -> None:
    model = from_proto(zoo.densenet())
    assert correct_bias(model.copy(), model, run.Observed()) == (
        "bias correction: no quantised layer takes one",
    )


def test_another_network_as_reference_is_refused() -> None:
    _, after = biased("densenet")
    with pytest.raises(PassError, match="the reference network"):
        correct_bias(after, from_proto(zoo.mlp(size=8)), run.Observed())


def test_values_of_the_original_are_not_written_into() -> None:
    model, after = biased("resnet")
    before = {name: constant.values.copy() for name, constant in after.constants().items()}
    copy = after.copy()
    correct_bias(copy, model, calibration(model))
    assert changed(after, copy)
    for name, constant in after.constants().items():
        np.testing.assert_array_equal(constant.values, before[name])
