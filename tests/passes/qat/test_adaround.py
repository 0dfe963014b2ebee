"""Learned rounding through whole networks: what stays, what lies on the grid, what the answers gain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import onnx
import pytest

from onnxcomp import graphs, pipeline, recipe
from onnxcomp.calibration import ImageCalibration
from onnxcomp.deploy.finalize import finalize
from onnxcomp.deploy.targets import get_target
from onnxcomp.grams import ImageGrams
from onnxcomp.model import Model, from_proto, to_proto
from onnxcomp.passes.layerwise import matrix
from onnxcomp.passes.qat import adaround
from onnxcomp.passes.qat.adaround import round_weights
from onnxcomp.passes.qat.sqnr import sqnr
from tests import run, zoo
from tests.builder import Builder, bn_relu, conv, head

NETWORKS = {**zoo.ALL, **zoo.MORE}


def build(name: str) -> Model:
    return from_proto(NETWORKS[name]())


def images(model: Model, seed: int, count: int = 64) -> np.ndarray:
    """Mixtures of a few patterns and some noise: unlike white noise, inputs that depend on each other."""
    shape = model.image_shape
    patterns = np.random.default_rng(0).standard_normal((20, int(np.prod(shape))))
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((count, 20)) @ patterns / 4 + rng.standard_normal((count, 1)) / 4
    return mixed.reshape(count, *shape).astype(np.float32)


@dataclass
class Watched:
    """Gram matrices of such images; notes which layers each question is about."""

    asked: list[list[str]] = field(default_factory=list)

    def grams(self, model: Model, layers: Sequence[graphs.Weight]) -> dict[str, np.ndarray]:
        self.asked.append([layer.name for layer in layers])
        batch = images(model, 1)
        return ImageGrams(lambda: [batch], threads=1).grams(model, layers)


def quantized(model: Model, text: str = "qat{weight_bits=4}") -> Model:
    batch = images(model, 1)
    return pipeline.apply(model, recipe.parse(text), calibration=ImageCalibration(lambda: [batch], threads=1))


@cache
def both(name: str) -> tuple[Model, Model, Model, tuple[str, ...]]:
    """The float network, the quantised one with weights as they were and with learned ones, and the notes."""
    model = build(name)
    before = quantized(model)
    after = before.copy()
    notes = round_weights(after, model, Watched(), bits=4)
    return model, before, after, notes


def pairs_of(model: Model) -> dict[str, graphs.Quantizer]:
    return {pair.weight.name: pair for pair in graphs.quantizers(model.graph) if pair.weight is not None}


def steps_of(pair: graphs.Quantizer) -> np.ndarray:
    assert pair.weight is not None
    return graphs.along(pair.scale.values, pair.axis, len(pair.weight.shape))


@pytest.mark.parametrize("name", NETWORKS)
def test_answers_come_nearer_on_images_that_nothing_was_fitted_to(name: str) -> None:
    model, before, after, (note,) = both(name)
    unseen = images(model, seed=7)
    exact = run.logits(model, unseen)
    nearest, learned = (sqnr([exact], [run.logits(one, unseen)]) for one in (before, after))
    assert learned > nearest + 0.5  # dB
    assert note.startswith(f"rounding of {len(pairs_of(before))} weights learned: ")


@pytest.mark.parametrize("name", NETWORKS)
def test_only_weights_change_and_they_lie_on_their_grids(name: str) -> None:
    _, before, after, _ = both(name)
    onnx.checker.check_model(to_proto(after), full_check=True)
    assert [node.name for node in after.graph.nodes] == [node.name for node in before.graph.nodes]
    pairs, old, new = pairs_of(after), before.constants(), after.constants()
    changed = {key for key in old if not np.array_equal(old[key].values, new[key].values)}
    assert changed <= set(pairs)
    assert len(changed) >= len(pairs) - 1  # a weight of a few elements may lie on its grid by chance
    for key, pair in pairs.items():
        steps, values = steps_of(pair), new[key].values
        assert values.dtype == np.float32
        ratio = values / steps
        integers = np.rint(ratio)
        np.testing.assert_array_equal(values, integers * steps)
        assert np.abs(integers).max() <= 7
        assert np.abs(integers - old[key].values / steps).max() < 1


@pytest.mark.parametrize("name", NETWORKS)
def test_quantize_linear_returns_the_integers(name: str) -> None:
    *_, after, _ = both(name)
    pairs = pairs_of(after)
    outputs = [pair.quantize.outputs[0].name for pair in pairs.values()]
    probe = after.copy()
    tensors = probe.graph.tensors()
    probe.graph.outputs = [*probe.graph.outputs, *(tensors[output] for output in outputs)]
    found = run.outputs(probe, images(after, 1, count=1))
    for output, pair in zip(outputs, pairs.values(), strict=True):
        assert pair.weight is not None
        expected = np.rint(pair.weight.values.astype(np.float64) / steps_of(pair).astype(np.float64))
        np.testing.assert_array_equal(found[output], expected.astype(np.int8))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("bits", [8, 3])
def test_no_output_of_a_layer_gains_error(name: str, bits: int) -> None:
    model = build(name)
    before = quantized(model, f"qat{{weight_bits={bits}}}")
    after = before.copy()
    round_weights(after, model, Watched(), bits=bits)
    layers = {layer.name: layer for layer in graphs.weights(model.graph)}
    old, new, total = before.constants(), after.constants(), np.zeros(2)
    matrices = Watched().grams(model, list(layers.values()))
    for key, pair in pairs_of(before).items():
        steps, layer = steps_of(pair), layers[key]
        gram = matrices[key].astype(np.float64)
        exact = layer.tensor.values.astype(np.float64)
        errors = []
        for values in (np.rint(old[key].values / steps) * steps, new[key].values):
            change = matrix(layer, values - exact)
            errors.append(((change @ gram) * change).sum(-1))
        # Compared in float32, in which a sum over hundreds of products errs by a few 1e-6 of its terms.
        assert np.all(errors[1] <= errors[0] * (1 + 1e-3) + 1e-6 * np.mean(errors[0]))
        total += [errors[0].sum(), errors[1].sum()]
    assert total[1] < 0.85 * total[0]


@pytest.mark.parametrize("name", ["resnet", "mobilenet", "vit"])
def test_zeros_and_masks_stay(name: str) -> None:
    model = build(name)
    batch = images(model, 1)
    masked = pipeline.apply(model, recipe.parse("prune{schedule=one-shot sparsity=0.5 allocation=uniform}"))
    for key, mask in graphs.masks(masked.graph).items():
        values = masked.constants()[key].values.copy()
        values[mask.values == 0] = 0.25  # what is behind a mask counts for nothing
        masked.constants()[key].values = values
    before = quantized(masked)
    after = before.copy()
    round_weights(after, masked, Watched(), bits=4)
    old, new = before.constants(), after.constants()
    assert len(graphs.masks(after.graph)) > 3
    for key, mask in graphs.masks(after.graph).items():
        np.testing.assert_array_equal(mask.values, graphs.masks(before.graph)[key].values)
        closed = mask.values == 0
        np.testing.assert_array_equal(new[key].values[closed], old[key].values[closed])
    exact = run.logits(masked, batch)
    nearest, learned = (sqnr([exact], [run.logits(one, batch)]) for one in (before, after))
    assert learned > nearest + 1.5
    final = finalize(after, get_target("xavier"))
    weights = {pair.weight.name: pair.weight.values for pair in graphs.quantizers(final.graph) if pair.weight}
    for key, mask in graphs.masks(after.graph).items():
        assert not weights[key][mask.values == 0].any()


def test_scales_that_clip() -> None:
    model = build("resnet")
    before = quantized(model, "qat{weight_bits=3 weights=mse}")
    after = before.copy()
    round_weights(after, model, Watched(), bits=3)
    clipped = 0
    originals = model.constants()
    for key, pair in pairs_of(after).items():
        steps = steps_of(pair)
        integers, wanted = after.constants()[key].values / steps, originals[key].values / steps
        beyond = np.abs(wanted) > 3 + 1e-3
        clipped += int(beyond.sum())
        np.testing.assert_array_equal(np.rint(integers)[beyond], 3 * np.sign(wanted[beyond]))
    assert clipped > 10


def test_matrices_are_of_the_float_network_and_fit_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model, before, once, _ = both("densenet")
    often, watched = before.copy(), Watched()
    monkeypatch.setattr(adaround, "BUDGET", 20_000)
    round_weights(often, model, watched, bits=4)
    columns = {w.name: w.tensor.values.size // w.tensor.shape[w.axis] for w in graphs.weights(model.graph)}
    assert [name for stage in watched.asked for name in stage] == list(columns)
    assert len(watched.asked) > 2
    for stage in watched.asked:
        assert len(stage) == 1 or sum(columns[name] ** 2 for name in stage) <= 20_000
    for name in columns:
        np.testing.assert_array_equal(often.constants()[name].values, once.constants()[name].values)


def shared() -> onnx.ModelProto:
    """One convolution's weight read by two nodes."""
    net = Builder(0)
    x = bn_relu(net, conv(net, "input", "first", 3, 8), "norm", 8)
    y = conv(net, x, "second", 8, 8)
    z = net.node("Conv", [net.node("Relu", [y], "active"), "second.weight"], "again", "again", pads=[1] * 4)
    return net.model(head(net, z, "fc", 8, 10), 17, ("N", 3, 12, 12), 10)


def test_a_shared_weight_is_learned_once_for_all_its_nodes() -> None:
    model = from_proto(shared())
    after, watched = quantized(model), Watched()
    (note,) = round_weights(after, model, watched, bits=4)
    assert note.startswith("rounding of 3 weights learned")
    assert watched.asked == [["first.weight", "second.weight", "second.weight", "fc.weight"]]


def transposed() -> onnx.ModelProto:
    net = Builder(0)
    x = net.node("ConvTranspose", ["input", net.constant("w", net.he(3, 20, 2, 2))], "y", "up")
    x = net.node("Flatten", [net.node("GlobalAveragePool", [x], "pooled")], "flat")
    x = net.node("Gemm", [x, net.constant("v", net.he(20, 10))], "logits", "last")
    return net.model(x, 17, ("N", 3, 8, 8), 10)


def test_what_is_left_to_quantize_linear_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    model = from_proto(transposed())
    before = quantized(model)
    after = before.copy()
    monkeypatch.setattr(adaround, "WIDEST", 19)
    assert set(pairs_of(before)) == {"w", "v"}
    assert round_weights(after, model, Watched(), bits=4) == (
        "rounding: no quantised weight is learned",
        "rounded to nearest: w, ConvTranspose has no Gram matrix",
        "rounded to nearest: v, of 20 inputs, more than 19",
    )
    for key, constant in before.constants().items():
        np.testing.assert_array_equal(after.constants()[key].values, constant.values)


def test_a_weight_that_is_read_as_float_too_stays() -> None:
    model = from_proto(shared())
    after = quantized(model, "qat{weight_bits=4 exclude=again}")
    values = after.constants()["second.weight"].values.copy()
    notes = round_weights(after, model, Watched(), bits=4)
    assert notes[1:] == ("rounded to nearest: second.weight, which is read without its pair too",)
    np.testing.assert_array_equal(after.constants()["second.weight"].values, values)
