"""Recipe files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given

from onnxcomp import recipe_file
from onnxcomp.errors import RecipeError
from onnxcomp.recipe import Recipe
from tests.test_recipe import recipes_made


@given(recipe=recipes_made)
def test_yaml_round_trips(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("recipe") / "r.yaml"
    path.write_text(recipe_file.dump(recipe), encoding="utf-8")
    assert recipe_file.load(path) == recipe


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("passes: [prune]\nspeed: 3\n", "speed: Extra inputs are not permitted"),
        ("passes: [{prune: {sparsity: 2}}]\n", "sparsity is 2"),
        ("passes: [{prune: {velocity: 2}}]\n", "unknown option velocity"),
        ("passes: []\n", "no pass is named"),
        ("- prune\n", "holds no table"),
        ("passes: [prune\n", "is no YAML file"),
        ("passes: !!python/object/apply:os.system [true]\n", "is no YAML file"),
        ("passes: [prune]\npasses: [qat]\n", "is no YAML file (passes is given twice"),
        ("passes: [distill: {alpha: 1, boundary: 2, alpha: 3}]\n", "alpha is given twice"),
        ("passes: [distill: {stages: [{losses: {task: 1}, steps: 2024-13-45}]}]\n", "month must be in 1..12"),
        ("passes: " + "[" * 3000, "is no YAML file"),
    ],
)
def test_bad_files_are_refused(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RecipeError) as error:
        recipe_file.load(path)
    assert message in str(error.value)
    assert str(path) in str(error.value) or "prune" in str(error.value)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(RecipeError, match=r"there is no such file; did you mean .*/recipe.yaml\?"):
        recipe_file.load(tmp_path / "recpe.yml")
