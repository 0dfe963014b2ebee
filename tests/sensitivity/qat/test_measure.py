from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxcomp import graphs, pipeline, recipe, runtime
from onnxcomp.data import DataSet, ImageSet
from onnxcomp.deploy.finalize import finalize
from onnxcomp.deploy.targets import get_target
from onnxcomp.errors import DataError, ModelError
from onnxcomp.model import Model, from_proto, to_proto
from onnxcomp.passes.qat import partial
from onnxcomp.sensitivity.bench import Array, Bench, Variant
from onnxcomp.sensitivity.qat.effects import Effects
from onnxcomp.sensitivity.qat.measure import Measurement, open_measurement
from onnxcomp.sensitivity.scores import Compared, compared
from tests import run
from tests.passes.qat import disaster
from tests.pictures import NORMAL, normalised, pictures
from tests.sensitivity.naive import NETWORKS, agreeing, data, network, sharing
from tests.sensitivity.qat.test_spots import quantized


def opened(model: Model, root: Path, given: DataSet | None = None, images: int = 23) -> Measurement:
    return open_measurement(model, given or data(), images=images, split="train", root=root)


def complete(model: Model, root: Path, given: DataSet | None = None, images: int = 23) -> Effects:
    found = opened(model, root, given, images)
    if found.points.missing:
        found.fill(threads=1)
    return found.effects()


def naive(model: Model, reference: Model, images: ImageSet) -> Compared:
    """Fresh sessions of whole networks."""
    inputs = normalised(images).astype(np.float32)
    rows = []
    for one in (model, reference):
        session = runtime.session(one, threads=1, integer=False)
        size = one.batch or len(inputs)
        rows.append(
            np.concatenate(
                [session.run(None, {one.image.name: inputs[i : i + size]})[0] for i in range(0, 20, size)]
            )
        )
    return compared(rows[0], rows[1], images.labels)


@pytest.mark.parametrize("name", NETWORKS)
def test_effects_are_those_of_fresh_sessions(name: str, tmp_path: Path) -> None:
    """Most to 1e-5 dB. Sums in another order let an activation fall on the other side of a rounding step now
    and then, which of these few images moves SQNR by up to 0.05 dB and the loss by up to 1e-3.
    """
    given, images = quantized(name), data(20)
    found = complete(given, tmp_path, images, 20)
    reference = partial.only(given, ())
    assert list(found.layers) == list(partial.layers(given))
    dense = naive(reference, reference, images.train)
    assert found.dense.top1 == dense.top1
    assert found.dense.loss == pytest.approx(dense.loss, abs=1e-5)
    pairs = [(found.int8, naive(given, reference, images.train))]
    for layer, effect in list(found.layers.items())[::2]:
        pairs += [
            (effect.alone, naive(partial.only(given, [layer]), reference, images.train)),
            (effect.left, naive(partial.without(given, [layer]), reference, images.train)),
        ]
    for one, other in pairs:
        assert one.top1 == other.top1
        assert one.loss == pytest.approx(other.loss, abs=1e-3)
    apart = [abs(one.decibels - other.decibels) for one, other in pairs]
    assert np.median(apart) < 1e-5
    assert max(apart) < 0.05
    assert min(one.decibels for one, _ in pairs) < 40  # so that 0.05 dB is little


def test_uint8_pairs_with_zero_points(tmp_path: Path) -> None:
    """0.05 dB as above."""
    given, images = quantized("resnet", runtime="ort-cpu"), data(20)
    found = complete(given, tmp_path, images, 20)
    reference = partial.only(given, ())
    for layer, effect in found.layers.items():
        expected = naive(partial.without(given, [layer]), reference, images.train)
        assert effect.left.decibels == pytest.approx(expected.decibels, abs=0.05)
    assert found.between is not None


def test_what_lies_between_layers_is_measured(tmp_path: Path) -> None:
    """All that is left when the pairs of layers are taken away one by one."""
    given, images = quantized("resnet"), data(20)
    found = complete(given, tmp_path, images, 20)
    between = given.copy()
    ops = {"Add", "GlobalAveragePool"}
    for pair in list(graphs.quantizers(between.graph)):
        output = pair.dequantize.outputs[0]
        layers = [node for node in output.outputs if node.op not in ops]
        graphs.rewire(output, pair.source, layers)
    expected = naive(between, partial.only(given, ()), images.train)
    assert found.between is not None
    assert found.between.decibels == pytest.approx(expected.decibels, abs=0.05)
    assert complete(quantized("mlp"), tmp_path).between is None


def test_a_fixed_batch_and_a_shared_weight(tmp_path: Path) -> None:
    """0.05 dB as above."""
    images = data(20)
    fixed = network("resnet", batch=4)
    for model in (fixed, sharing()):
        given = pipeline.apply(model, recipe.parse("qat"), calibration=run.Observed())
        found = complete(given, tmp_path, images, 20)
        reference = partial.only(given, ())
        for layer, effect in found.layers.items():
            expected = naive(partial.only(given, [layer]), reference, images.train)
            assert effect.alone.top1 == expected.top1
            assert effect.alone.decibels == pytest.approx(expected.decibels, abs=0.05)


def test_the_disastrous_layer_is_first(tmp_path: Path) -> None:
    model = disaster.network()
    model.preprocessing = NORMAL
    images = agreeing(model)
    given = pipeline.apply(model, recipe.parse("qat"), calibration=run.Observed(64))
    found = complete(given, tmp_path, images, 60)
    first, second, *_ = found.by_sensitivity()
    assert first == disaster.VICTIM
    assert found.dense.top1 == 100
    assert found.layers[first].alone.decibels < 0 < 10 < found.layers[second].alone.decibels
    assert found.gain(first) > 10 > 3 > max(found.gain(name) for name in found.layers if name != first)


def test_a_network_quantised_in_part(tmp_path: Path) -> None:
    given = quantized("resnet", "qat{exclude=fc* concat=none}")
    found = complete(given, tmp_path)
    assert "fc.weight" not in found.layers
    assert found.recipe == given.recipe == 'qat{concat="none" exclude=["fc*"]}'


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The variants that are really measured."""
    names: list[str] = []
    real = Bench.measure

    def noted(self: Bench, variant: Variant) -> Array:
        names.append(variant.name)
        return real(self, variant)

    monkeypatch.setattr(Bench, "measure", noted)
    return names


def test_a_second_call_measures_nothing(tmp_path: Path, measured: list[str]) -> None:
    first = complete(quantized("mlp"), tmp_path)
    assert len(measured) == 4
    again = opened(quantized("mlp"), tmp_path)
    assert not again.points.missing
    assert again.effects() == first
    assert len(measured) == 4


def test_other_scales_or_images_are_measured_anew(tmp_path: Path) -> None:
    complete(quantized("mlp"), tmp_path)
    for other in (
        opened(quantized("mlp", "qat{calibration=max}"), tmp_path),
        opened(quantized("mlp"), tmp_path, images=22),
        opened(quantized("mlp"), tmp_path, data(24)),
    ):
        assert len(other.points.missing) == 6


@pytest.mark.parametrize("after", [0, 1, 5, 9])
def test_a_kill_loses_the_point_that_was_being_measured(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.05 dB as above."""
    whole = complete(quantized("resnet"), tmp_path / "whole")
    real, count = Bench.measure, 0

    def killed(self: Bench, variant: Variant) -> Array:
        nonlocal count
        count += 1
        if count > after:
            raise KeyboardInterrupt
        return real(self, variant)

    monkeypatch.setattr(Bench, "measure", killed)
    with pytest.raises(KeyboardInterrupt):
        complete(quantized("resnet"), tmp_path / "part")
    monkeypatch.setattr(Bench, "measure", real)
    found = opened(quantized("resnet"), tmp_path / "part")
    assert len(found.points.known) in (after + 1, after + 2)  # and the whole networks that came before it
    told: list[float] = []
    found.fill(threads=1, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1, abs=1e-9)
    for name, effect in found.effects().layers.items():
        assert effect.alone.decibels == pytest.approx(whole.layers[name].alone.decibels, abs=0.05)
        assert effect.left.decibels == pytest.approx(whole.layers[name].left.decibels, abs=0.05)


def test_networks_that_cannot_be_measured(tmp_path: Path) -> None:
    given = quantized("resnet")
    deployed = finalize(given, get_target("xavier"))
    with pytest.raises(ModelError, match="is deployable already; measure its compression form"):
        opened(deployed, tmp_path)
    with pytest.raises(ModelError, match="no layer is quantised; apply qat first"):
        opened(network("mlp"), tmp_path)
    with pytest.raises(DataError, match="data pictures: has no train image"):
        opened(given, tmp_path, DataSet("pictures", pictures(0), pictures(3)))
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_another_tool_has_quantised(tmp_path: Path) -> None:
    proto = to_proto(finalize(quantized("mlp"), get_target("xavier")))
    del proto.metadata_props[:]
    pairs = sum(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in proto.graph.node)
    other = from_proto(proto)
    other.preprocessing = NORMAL
    message = rf"another tool has quantised it: node \S+ is QuantizeLinear and {pairs - 1} more; start from"
    with pytest.raises(ModelError, match=message):
        opened(other, tmp_path)
