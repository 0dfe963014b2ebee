from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.model import from_proto
from onnxcomp.passes.distill.teachers.weights import fold
from onnxcomp.student import student
from tests import run
from tests.deploy.networks import compressed
from tests.passes.distill.teachers.scene import TOLERANCE, proto


@pytest.mark.parametrize(
    ("name", "folded", "stay"), [("densenet", 5, 6), ("vgg", 2, 0), ("mobilenet_v3", 7, 0)]
)
def test_what_can_be_folded_is(name: str, folded: int, stay: int) -> None:
    model = from_proto(proto(name))
    images = run.images(model)
    before = run.logits(model, images)
    rest = f", {stay} stay" if stay else ""
    assert fold(model) == [f"{folded} BatchNormalization folded{rest}"]
    assert sum(node.op == "BatchNormalization" for node in model.graph.nodes) == stay
    np.testing.assert_allclose(run.logits(model, images), before, atol=TOLERANCE, rtol=0)


def test_masks_are_multiplied_in_before() -> None:
    model = student(compressed(from_proto(proto("vgg")), "prune"))
    images = run.images(model)
    before = run.logits(model, images)
    assert fold(model) == ["2 masks multiplied into its weights", "2 BatchNormalization folded"]
    np.testing.assert_allclose(run.logits(model, images), before, atol=TOLERANCE, rtol=0)


def test_a_quantised_network_keeps_its_normalisation_and_every_bit() -> None:
    model = student(compressed(from_proto(proto("densenet")), "prune,qat"))
    images = run.images(model)
    before = run.logits(model, images)
    assert fold(model) == ["9 masks multiplied into its weights"]
    assert any(node.op == "BatchNormalization" for node in model.graph.nodes)
    assert np.array_equal(run.logits(model, images), before)


def test_nothing_to_do() -> None:
    model = from_proto(proto("mlp"))
    assert fold(model) == []
