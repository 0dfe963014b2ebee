"""The stages of a recipe: what they say, and what is wrong with them."""

from __future__ import annotations

import pytest

from onnxcomp import recipe as recipes
from onnxcomp.errors import RecipeError
from onnxcomp.passes.distill.stage import Stage, Term, obstacle

TASK: dict[Term, float] = {"task": 1.0}
SOFT: dict[Term, float] = {"soft_targets": 1.0}


def test_good_stages_have_no_obstacle() -> None:
    assert obstacle((Stage(SOFT),)) == ("", "")
    assert obstacle((Stage({"boundary": 1.0}, 0.4, 0.1), Stage({"hints": 2.0}, 100), Stage(SOFT))) == ("", "")
    assert obstacle((Stage(SOFT, 1), Stage(TASK))) == ("", "")


@pytest.mark.parametrize(
    ("stages", "what"),
    [
        ((Stage({}),), "stage 1 has no loss"),
        ((Stage(SOFT, 0.5), Stage({})), "stage 2 has no loss"),
        ((Stage(SOFT, 0.5),), "stage 1, the last, has steps"),
        ((Stage(SOFT), Stage(SOFT)), "stage 1 does not say its steps"),
        ((Stage(SOFT, 2.5), Stage(SOFT)), "stage 1 has 2.5 steps"),
        ((Stage(SOFT, 0.5), Stage(SOFT, 0.5), Stage(SOFT)), "the stages before the last take 1 of the steps"),
    ],
)
def test_obstacles(stages: tuple[Stage, ...], what: str) -> None:
    found, fix = obstacle(stages)
    assert found == what
    assert fix


def test_stages_round_trip_through_the_recipe_s_text() -> None:
    text = (
        'distill{stages=[{"losses": {"boundary": 1.0}, "steps": 0.4, "lr": 0.1}, {"losses": {"task": 0.1}}]}'
    )
    recipe = recipes.parse(text)
    assert str(recipe) == text
    assert recipes.parse(str(recipe)) == recipe
    stages = recipe.passes[0].plan()  # type: ignore[attr-defined]
    assert stages == (Stage({"boundary": 1.0}, 0.4, 0.1), Stage({"task": 0.1}))


@pytest.mark.parametrize(
    "stage",
    [
        '{"losses": {"bondary": 1}}',
        '{"losses": {"boundary": 0}}',
        '{"losses": {"boundary": -1}}',
        '{"losses": {"task": 1}, "lr": 0}',
        '{"losses": {"task": 1}, "steps": 0}',
        '{"losses": {"task": 1}, "step": 3}',
        "{}",
        "7",
    ],
)
def test_what_is_no_stage_is_refused(stage: str) -> None:
    with pytest.raises(RecipeError, match=r"distill: stages\.0"):
        recipes.parse(f"distill{{stages=[{stage}]}}")
