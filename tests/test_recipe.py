"""Recipes: text, overrides and YAML round-trip, and every refusal says what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp import recipe as recipes
from onnxcomp.errors import RecipeError
from onnxcomp.passes.distill import Distill
from onnxcomp.passes.prune import Prune
from onnxcomp.passes.qat import Qat
from onnxcomp.recipe import Recipe

share = st.floats(0, 1, exclude_max=True)
moment = st.floats(0, 1) | st.integers(2, 1000)
prunes = st.builds(
    Prune,
    sparsity=st.none() | share,
    pattern=st.sampled_from(["unstructured", "2:4", "4x1"]),
    criterion=st.sampled_from(["magnitude", "random", "taylor", "obd", "obs"]),
    schedule=st.sampled_from(["one-shot", "iterative", "cubic", "ramp"]),
    begin=moment,
    end=moment,
    frequency=st.floats(0, 1, exclude_min=True) | st.integers(1, 1000),
    allocation=st.sampled_from(["global", "uniform", "class-distribution", "erk", "sensitivity"]),
    keep_first=st.booleans(),
    exclude=st.lists(st.text(min_size=1, max_size=8), max_size=3).map(tuple),
    layers=st.dictionaries(st.text(min_size=1, max_size=8), share, max_size=2),
    seed=st.integers(0, 99),
    sensitivity=st.none() | st.text(max_size=8),
    max_drop=st.none() | st.floats(0, 100),
)
qats = st.builds(
    Qat, calibration=st.sampled_from(["max", "percentile", "mse"]), percentile=st.floats(51, 100)
)
distills = st.builds(Distill, temperature=st.floats(0.1, 100), alpha=share, boundary=st.floats(0, 10))
recipes_made = (
    st.tuples(
        st.none() | prunes,
        st.none() | qats,
        st.none() | distills,
    )
    .map(lambda steps: Recipe(tuple(s for s in steps if s is not None)))
    .filter(lambda r: bool(r.passes))
)


@given(recipes_made)
def test_text_round_trips(recipe: Recipe) -> None:
    assert recipes.parse(str(recipe)) == recipe


def test_defaults_are_left_out_of_the_text() -> None:
    assert str(recipes.parse("prune{sparsity=0.9}, qat ,distill{}")) == "prune{sparsity=0.9},qat,distill"


def test_bare_words_are_strings() -> None:
    assert recipes.parse("prune{allocation=uniform}").passes == (Prune(allocation="uniform"),)


def test_settings_override_the_recipe() -> None:
    recipe = recipes.with_settings(
        recipes.parse("prune{sparsity=0.5 end=0.7},qat"), ["prune.sparsity=0.9", "qat.calibration=max"]
    )
    assert recipe.passes == (Prune(sparsity=0.9, end=0.7), Qat(calibration="max"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prun", "unknown pass prun; did you mean prune?"),
        ("zebra", "unknown pass zebra; the passes are channels, prune, qat, distill"),
        ("prune{sparsty=0.5}", "prune: unknown option sparsty; did you mean sparsity?"),
        (
            "prune{sparsity=1.2}",
            "prune: sparsity is 1.2: Input should be less than 1; set prune.sparsity anew",
        ),
        ("prune{sparsity=-0.1}", "sparsity is -0.1: Input should be greater than or equal to 0"),
        ("prune{sparsity=many}", "sparsity is 'many': Input should be a valid number"),
        ("prune{allocation=layer}", "allocation is 'layer': Input should be 'global', 'uniform', "),
        ("prune{sparsity 0.5}", "recipe: name=value or } is expected at column 7"),
        ("prune{sparsity=0.5", "name=value or } is expected at column 19, before 'the end'"),
        ("prune qat", "a comma is expected at column 7"),
        ("prune{sparsity=0.5 sparsity=0.6}", "sparsity is given twice at column 20"),
        ("prune{sparsity=" + "9" * 5000 + "}", "sparsity is "),
        ("", "no pass is named"),
        (",", "a pass name is expected at column 1"),
    ],
)
def test_bad_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        recipes.parse(text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("qat,prune", "prune cannot follow qat; write prune before qat"),
        ("distill,qat", "qat cannot follow distill"),
        ("prune,prune", "the pass prune is applied twice"),
    ],
)
def test_order_is_checked(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipes.parse(text).check_order()


def test_a_pass_may_say_what_may_follow_it() -> None:
    """One of a third party, of which the built-in passes do not know."""

    @dataclass(frozen=True)
    class Early(Prune):
        name: ClassVar[str] = "early"
        follows: ClassVar[tuple[str, ...]] = ()
        precedes: ClassVar[tuple[str, ...]] = ("qat",)

    Recipe((Early(), Qat())).check_order()
    with pytest.raises(RecipeError, match="distill cannot follow early"):
        Recipe((Early(), Distill())).check_order()
    with pytest.raises(RecipeError, match="early cannot follow qat"):
        Recipe((Qat(), Early())).check_order()


def test_commas_may_stand_between_options() -> None:
    parsed = recipes.parse(
        "prune{sparsity=0.5, end=0.6,exclude=['conv1'],}, qat{calibration=max,residual=false}".replace(
            "'", '"'
        )
    )
    assert parsed == recipes.parse(
        'prune{sparsity=0.5 end=0.6 exclude=["conv1"]},qat{calibration=max residual=false}'
    )


@pytest.mark.parametrize("text", ["prune", "qat", "distill", "prune,qat", "prune,distill", "qat,distill"])
def test_legal_orders_pass(text: str) -> None:
    recipes.parse(text).check_order()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("sparsity=0.5", "'sparsity=0.5' is not pass.option=value"),
        ("qat.calibration=max", "the recipe has no pass qat; add qat to the recipe"),
        ("prun.sparsity=0.5", "unknown pass prun; did you mean prune?"),
        ("prune.sparsity=1.2", "sparsity is 1.2"),
        ("prune.sparcity=0.2", "unknown option sparcity; did you mean sparsity?"),
        ("prune.sparsity=" + "9" * 5000, "sparsity is "),
        ("prune.sparsity=" + "[" * 5000, "sparsity is "),
    ],
)
def test_bad_settings_are_refused(setting: str, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        recipes.with_settings(recipes.parse("prune"), [setting])
    assert message in str(error.value)
