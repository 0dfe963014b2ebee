"""What holds of each loss whatever its tensors: never below 0, none between equals, and the like."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.passes.distill.losses.building import gradient, graph_of, value
from tests.passes.distill.losses.cases import CASES, Case

ROUNDING = 2e-6  # of a sum of terms near 1 whose exact value is 0, in float32
BLIND = ("boundary",)  # to how much more active a neuron is, so equals have a loss within the margin
SEEDS = st.integers(0, 2**32 - 1)
IMAGES = st.integers(1, 6)
few = settings(max_examples=15)


@pytest.mark.parametrize("name", CASES)
@few
@given(seed=SEEDS, images=IMAGES, size=st.floats(1e-3, 1e3))
def test_never_below_0(name: str, seed: int, images: int, size: float) -> None:
    student, *others = CASES[name].arrays(seed, images)
    assert value(CASES[name].build, 17, student * np.float32(size), *others) >= -ROUNDING


@pytest.mark.parametrize("name", [name for name in CASES if name not in BLIND])
@few
@given(seed=SEEDS, images=IMAGES)
def test_a_student_equal_to_its_teacher_has_none(name: str, seed: int, images: int) -> None:
    case = CASES[name]
    student, _, *rest = case.arrays(seed, images)
    # Weighed by 8 and 9 = T^2, the divergence among the others is the roundest.
    assert abs(value(case.build, 17, student, student, *rest)) <= 20 * ROUNDING
    assert np.abs(gradient(case.build, 17, student, student, *rest)).max() <= ROUNDING


@pytest.mark.parametrize("name", ["soft_targets", "decoupled"])
@few
@given(seed=SEEDS, own=st.floats(-50, 50), other=st.floats(-50, 50))
def test_a_number_added_to_all_logits_changes_nothing(name: str, seed: int, own: float, other: float) -> None:
    student, teacher, *rest = CASES[name].arrays(seed)
    moved = value(CASES[name].build, 17, student + np.float32(own), teacher + np.float32(other), *rest)
    # A logit of 50 is rounded by 2e-6.
    assert moved == pytest.approx(value(CASES[name].build, 17, student, teacher, *rest), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", ["attention", "relations"])
@few
@given(seed=SEEDS, own=st.floats(1e-4, 1e4), other=st.floats(1e-4, 1e4))
def test_the_size_of_hidden_tensors_changes_nothing(name: str, seed: int, own: float, other: float) -> None:
    student, teacher, *rest = CASES[name].arrays(seed)
    scaled = value(CASES[name].build, 17, student * np.float32(own), teacher * np.float32(other), *rest)
    assert scaled == pytest.approx(value(CASES[name].build, 17, student, teacher, *rest), rel=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_the_order_of_images_changes_nothing(name: str) -> None:
    arrays = CASES[name].arrays(1, 5)
    turned = [a[[3, 0, 4, 2, 1]] for a in arrays]
    expected = value(CASES[name].build, 17, *arrays)
    assert value(CASES[name].build, 17, *turned) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_what_is_named_as_the_teacher_s_depends_on_its_tensor_alone(name: str) -> None:
    case: Case = CASES[name]
    graph = graph_of(case.build, 17, case.arrays(0), batch="N")
    for node in graph.nodes:
        assert node.name.startswith(("teacher/loss/", "loss/")), node.name
        if node.name.startswith("teacher/"):
            assert all(t.name == "x1" or t.name.startswith("teacher/") for t in node.inputs), node.name
    per_image = {"soft_targets", "boundary", "attention"}
    assert any(node.name.startswith("teacher/") for node in graph.nodes) == (name in per_image)
    (output,) = graph.outputs
    assert output.name == f"loss/{name}"
