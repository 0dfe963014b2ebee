"""Tests of onnxcomp.fingerprint."""

from __future__ import annotations

from onnxcomp import model as models
from onnxcomp.fingerprint import fingerprint
from tests import zoo


def test_the_fingerprint_is_of_structure_weights_and_metadata() -> None:
    def model(**options: int) -> models.Model:
        return models.from_proto(zoo.mlp(**options))

    plain = fingerprint(model())
    assert fingerprint(model()) == fingerprint(model().copy()) == plain
    changed = model()
    changed.classes = ("a", "b")
    other_weight = model()
    other_weight.constants()["w1"].values = other_weight.constants()["w1"].values + 1
    assert len({plain, fingerprint(model(seed=1)), fingerprint(changed), fingerprint(other_weight)}) == 4
