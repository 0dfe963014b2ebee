from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxcomp import model as models
from onnxcomp.model import Preprocessing
from tests import pictures, zoo
from tests.commands.call import call


@pytest.fixture
def validate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    data = pictures.save_npz(tmp_path / "pictures.npz")

    def run(*args: object) -> tuple[int, str, str]:
        return call(capsys, "validate", *args, "--data", data, "--threads", 1)

    return run


Validate = Callable[..., tuple[int, str, str]]


def save(path: Path, name: str = "resnet", *, noise: float = 0.0, **options: Any) -> Path:
    """A network whose weights are disturbed."""
    proto = zoo.ALL[name](**options)
    rng = np.random.default_rng(5)
    for tensor in proto.graph.initializer:
        values = numpy_helper.to_array(tensor)
        changed = values + noise * rng.standard_normal(values.shape)
        tensor.CopyFrom(numpy_helper.from_array(changed.astype(np.float32), tensor.name))
    onnx.save(proto, path)
    return path


EXACT = ("--atol", 0, "--rtol", 0, "--min-agreement", 100, "--max-drop", 0)


@pytest.mark.parametrize("name", zoo.ALL)
def test_equal_models_pass_at_no_tolerance(name: str, tmp_path: Path, validate: Validate) -> None:
    reference, candidate = save(tmp_path / "a.onnx", name), save(tmp_path / "b.onnx", name)
    code, out, err = validate(reference, candidate, *EXACT)
    assert code == 0
    assert "FAILED" not in err
    assert "same top-1 class          100.00 %" in out
    assert out.splitlines()[0] == f"{candidate} against {reference} on pictures.npz"


def test_a_disturbed_model_fails_with_a_line_for_each_check(tmp_path: Path, validate: Validate) -> None:
    reference, candidate = save(tmp_path / "a.onnx"), save(tmp_path / "b.onnx", noise=0.3)
    code, out, err = validate(reference, candidate, *EXACT[:-1], -100, "--check-error-stat", "mean", "--json")
    found = json.loads(out)
    assert code == 1
    assert not found["passed"]
    assert not found["comparison"]["passed"]
    lines = [line.removeprefix("FAILED: ") for line in err.splitlines() if line.startswith("FAILED: ")]
    assert lines == found["failures"]
    assert [line.split(" ")[0] for line in lines] == ["top-1", "the", "logits"]


def test_the_same_difference_within_its_tolerance_passes(tmp_path: Path, validate: Validate) -> None:
    reference, candidate = save(tmp_path / "a.onnx"), save(tmp_path / "b.onnx", noise=1e-4)
    args = (reference, candidate, "--max-drop", 100, "--check-error-stat", "max")
    assert validate(*args, "--atol", 0.1)[0] == 0
    assert validate(*args, "--atol", 1e-6)[0] == 1


def test_nan_fails(tmp_path: Path, validate: Validate) -> None:
    code, out, err = validate(
        save(tmp_path / "a.onnx"),
        save(tmp_path / "b.onnx", noise=float("nan")),
        "--max-drop",
        100,
        "--json",
    )
    assert code == 1
    assert "FAILED: NaN or infinity" in err
    found = json.loads(out)
    assert found["comparison"]["max_absolute"] is None
    assert not found["comparison"]["finite"]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"classes": 7}, "numbers of classes differ"), ({"size": 8}, "image shapes differ")],
)
def test_networks_that_cannot_be_compared_are_exit_code_2(
    tmp_path: Path, validate: Validate, options: dict[str, Any], message: str
) -> None:
    code, out, err = validate(save(tmp_path / "a.onnx"), save(tmp_path / "b.onnx", **options))
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_fixed_batch_meets_a_free_one(tmp_path: Path, validate: Validate) -> None:
    reference, candidate = save(tmp_path / "a.onnx"), save(tmp_path / "b.onnx", batch=4)
    code, out, _ = validate(reference, candidate, *EXACT, "--samples", 9, "--limit", 11, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["comparison"]["count"] == 8
    assert found["candidate"]["count"] == 11


def test_a_file_that_does_not_say_takes_what_the_other_takes(tmp_path: Path, validate: Validate) -> None:
    plain = save(tmp_path / "a.onnx")
    model = models.load(plain)
    model.preprocessing = Preprocessing((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
    models.save(model, tmp_path / "b.onnx")
    for pair in ((plain, tmp_path / "b.onnx"), (tmp_path / "b.onnx", plain)):
        assert validate(*pair, *EXACT)[0] == 0


def test_a_statistic_without_a_tolerance_is_bad_usage(tmp_path: Path, validate: Validate) -> None:
    path = save(tmp_path / "a.onnx")
    code, _, err = validate(path, path, "--check-error-stat", "max")
    assert code == 2
    assert "--check-error-stat needs --atol or --rtol" in err


@pytest.mark.parametrize("option", ["--max-drop", "--min-agreement", "--atol", "--rtol"])
def test_nan_is_no_limit(tmp_path: Path, validate: Validate, option: str) -> None:
    path = save(tmp_path / "a.onnx")
    code, out, err = validate(path, path, option, "nan")
    assert (code, out, err) == (2, "", f"Error: {option}: nan is no limit; give a number\n")
