from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from onnxcomp.bisect import Bisection, rows
from onnxcomp.bisect import bisect as bisect_batches
from onnxcomp.errors import ModelError
from onnxcomp.model import Model
from tests import pictures
from tests.bisect.faults import SHARED, int8, middle, own_scale, scale_off, swapped


def bisect(reference: Model, candidate: Model, **options: Any) -> Bisection:
    rng = np.random.default_rng(0)
    batches = [
        (rng.standard_normal((16, 3, 16, 16), dtype=np.float32), rng.integers(0, 10, 16)) for _ in range(2)
    ]
    return bisect_batches(reference, candidate, batches, threads=1, **options)


FAULTS: list[tuple[Callable[[Model], str], str, str, str]] = [
    (scale_off, "resnet", "xavier", "qat"),
    (scale_off, "densenet", "orin", "qat"),
    (scale_off, "mobilenet", "ort-cpu", "qat"),
    (swapped, "resnet", "orin", "qat"),
    (swapped, "densenet", "xavier", "qat"),
    (own_scale, "densenet", "ort-cpu", SHARED),
]


@pytest.mark.parametrize(("plant", "name", "target", "recipe"), FAULTS)
def test_a_planted_fault_is_named(plant: Callable[[Model], str], name: str, target: str, recipe: str) -> None:
    reference, candidate = int8(name, target, recipe)
    healthy = bisect(reference, candidate)
    assert healthy.outliers == ()
    node = plant(candidate)
    found = bisect(reference, candidate)
    assert [one.node for one in found.outliers] == [node]
    assert found.first is not None
    assert found.first.node == node
    if found.recovered_by_outliers >= 50:  # the rest is what rounding costs
        assert [one.node for one in found.blamed] == [node]
        assert found.minimal
        assert found.mended == found.corrected
    assert f"first node at fault: {found.first.op} {node};" in rows.lines(found)[0]


def test_a_fault_that_costs_most_is_the_smallest_set() -> None:
    reference, candidate = int8("resnet")
    node = scale_off(candidate)
    found = bisect(reference, candidate)
    assert [one.node for one in found.blamed] == [node]
    assert found.recovered > 90
    assert found.mended.noise < found.candidate.noise
    assert found.reference.noise == 0


def test_two_faults_are_both_named() -> None:
    reference, candidate = pictures.network("resnet"), pictures.network("resnet")
    convolutions = [node for node in candidate.graph.nodes if node.op == "Conv"]
    wrong = [convolutions[1], convolutions[-1]]
    for node in wrong:
        node.inputs[1].values = -node.inputs[1].values
    found = bisect(reference, candidate, recover=100)
    assert [one.node for one in found.outliers] == [node.name for node in wrong]
    assert [one.node for one in found.blamed] == [node.name for node in wrong]
    assert found.mended.noise == pytest.approx(0, abs=1e-10)


def test_a_loss_without_an_outlier_is_found_by_halving() -> None:
    """One weight is a tenth too large and all others are exact: it is to blame for everything."""
    reference, candidate = pictures.network("resnet"), pictures.network("resnet")
    node = [node for node in candidate.graph.nodes if node.op == "Conv"][2]
    node.inputs[1].values = node.inputs[1].values * np.float32(1.1)
    found = bisect(reference, candidate)
    assert found.outliers == ()
    assert found.crossing is not None
    assert found.first == found.crossing
    assert found.crossing.node == node.name
    assert [one.node for one in found.blamed] == [node.name]
    assert found.recovered == pytest.approx(100)
    assert rows.lines(found)[0].startswith("no layer is wrong by itself; half of the loss is there from Conv")


def test_rounding_is_nobodys_fault() -> None:
    reference, candidate = int8("densenet")
    found = bisect(reference, candidate, trials=10)
    assert found.outliers == ()
    assert found.recovered >= 50
    assert found.trials <= 10 + 2 + math.ceil(math.log2(len(found.suspects))) + 2


def test_a_network_with_other_weights_has_no_outliers() -> None:
    """As one that was trained: every layer is another, and none is at fault."""
    found = bisect(pictures.network("resnet"), pictures.network("resnet", seed=3), trials=4)
    assert found.differing > len(found.suspects) / 4
    assert found.outliers == ()
    assert found.first == found.crossing
    assert "differ by more than rounding does, as after training" in rows.lines(found)[0]


def test_few_trials_say_so() -> None:
    reference, candidate = int8("densenet")
    found = bisect(reference, candidate, trials=1, recover=90)
    assert len(found.blamed) == len(found.suspects)
    assert rows.lines(found)[-1] == "no set of fewer layers than all was found; give more --trials"


def test_equal_networks_lose_nothing() -> None:
    found = bisect(pictures.network("mlp"), pictures.network("mlp"))
    assert (found.first, found.blamed, found.minimal, found.recovered) == (None, (), True, 0)
    assert rows.lines(found) == ["nothing is lost"]


def test_by_accuracy() -> None:
    reference, candidate = pictures.network("mlp"), pictures.network("mlp")
    found = bisect(reference, candidate, by="top-1")
    assert rows.lines(found) == ["nothing is lost in top-1; try --by logits"]
    node = next(node for node in candidate.graph.nodes if node.op == "Gemm")
    node.inputs[1].values = -node.inputs[1].values
    reference_labels = _labels(reference)
    found = bisect_batches(reference, candidate, reference_labels, threads=1, by="top-1")
    assert found.reference.top1 == 100
    assert [one.node for one in found.blamed] == [node.name]
    assert found.mended.top1 == 100


def _labels(model: Model) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images whose labels are what ``model`` answers."""
    from onnxcomp import runtime

    images = np.random.default_rng(3).standard_normal((24, 3, 16, 16), dtype=np.float32)
    logits = runtime.session(model, threads=1).run(None, {model.image.name: images})[0]
    return [(images, logits.argmax(1))]


def test_a_nan_is_worst() -> None:
    reference, candidate = pictures.network("resnet"), pictures.network("resnet")
    node = [node for node in candidate.graph.nodes if node.op == "Conv"][2]
    values = np.array(node.inputs[1].values)
    values[0, 0, 0, 0] = np.nan
    node.inputs[1].values = values
    found = bisect(reference, candidate)
    assert found.candidate.noise == math.inf
    assert found.first is not None
    assert found.first.node == node.name
    assert [one.node for one in found.blamed] == [node.name]


def test_a_fixed_batch() -> None:
    reference, candidate = pictures.network("resnet"), pictures.network("resnet", batch=16)
    middle_of = [node for node in candidate.graph.nodes if node.op == "Conv"][1]
    middle_of.inputs[1].values = -middle_of.inputs[1].values
    found = bisect(reference, candidate)
    assert found.images == 32
    assert [one.node for one in found.blamed] == [middle_of.name]


def test_networks_of_other_classes_are_refused() -> None:
    with pytest.raises(ModelError, match="numbers of classes differ"):
        bisect(pictures.network("mlp"), pictures.network("mlp", classes=7))


def test_the_weight_in_the_middle_is_quantised() -> None:
    assert middle(int8("resnet")[1]).inputs[1].inputs[0].op == "DequantizeLinear"
