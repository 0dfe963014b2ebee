"""``validate`` and ``polygraphy run`` on each other's files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests import pictures, zoo
from tests.commands.call import call
from tests.commands.test_validate import save

Validate = Callable[..., tuple[int, str, str]]
POLYGRAPHY = "from polygraphy.tools._main import main; raise SystemExit(main())"


@pytest.fixture
def validate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Validate:
    data = pictures.save_npz(tmp_path / "pictures.npz")

    def run(*args: object) -> tuple[int, str, str]:
        return call(capsys, "validate", *args, "--data", data, "--threads", 1, "--max-drop", 100)

    return run


def polygraphy(*args: object) -> int:
    words = [sys.executable, "-W", "ignore", "-c", POLYGRAPHY, "run", *map(str, args)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, capture_output=True, timeout=120, env=environment, check=False).returncode


NOISE = {"resnet": (0.0, 0.3), "densenet": (1e-6, 0.1), "mobilenet": (1e-6, 0.3), "mlp": (0.0, 1e-2)}
PAIRS = [(name, noise) for name, levels in NOISE.items() for noise in levels]
PAIRS += [("resnet", 1e-6), ("densenet", 0.3)]
TOLERANCE = ("--atol", 1e-3, "--rtol", 1e-3, "--check-error-stat", "max")


@pytest.mark.parametrize(("name", "noise"), PAIRS)
def test_both_agree_on_pass_and_fail(name: str, noise: float, tmp_path: Path, validate: Validate) -> None:
    """Ten pairs, five that pass: Polygraphy runs the candidate anew and compares it with what was saved."""
    reference, candidate = save(tmp_path / "a.onnx", name), save(tmp_path / "b.onnx", name, noise=noise)
    inputs, outputs = tmp_path / "in.json", tmp_path / "out.json"
    code, _, err = validate(
        reference, candidate, *TOLERANCE, "--save-inputs", inputs, "--save-outputs", outputs
    )
    assert code == (noise > 1e-3), err
    found = polygraphy(candidate, "--onnxrt", "--load-inputs", inputs, "--load-outputs", outputs, *TOLERANCE)
    assert found == code


def test_ten_pairs() -> None:
    assert len(PAIRS) == 10
    assert sum(noise > 1e-3 for _, noise in PAIRS) == 5
    assert {name for name, _ in PAIRS} <= set(zoo.ALL)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_what_polygraphy_ran_is_held_against_the_reference(
    noise: float, tmp_path: Path, validate: Validate
) -> None:
    reference, other = save(tmp_path / "a.onnx"), save(tmp_path / "b.onnx", noise=noise)
    inputs, outputs = tmp_path / "in.json", tmp_path / "out.json"
    validate(reference, reference, "--save-inputs", inputs)
    assert polygraphy(other, "--onnxrt", "--load-inputs", inputs, "--save-outputs", outputs) == 0
    code, out, err = validate(
        reference, reference, *TOLERANCE, "--load-inputs", inputs, "--load-outputs", outputs, "--json"
    )
    assert code == (noise > 0)
    ((name, run),) = json.loads(out)["runs"].items()
    assert name.startswith("onnxrt-runner")
    assert run["passed"] is not bool(noise)
    assert (f"FAILED: {name}: logits differ" in err) is bool(noise)


def test_polygraphy_reads_what_it_wrote(tmp_path: Path, validate: Validate) -> None:
    """The inputs it made up itself, too."""
    path = save(tmp_path / "a.onnx", batch=4)
    inputs, outputs = tmp_path / "in.json", tmp_path / "out.json"
    assert polygraphy(path, "--onnxrt", "--save-inputs", inputs, "--save-outputs", outputs) == 0
    code, out, _ = validate(
        path, path, *TOLERANCE, "--load-inputs", inputs, "--load-outputs", outputs, "--json"
    )
    assert code == 0
    assert json.loads(out)["comparison"]["count"] == 4


def test_the_same_verdict_on_every_run(tmp_path: Path, validate: Validate) -> None:
    reference, candidate = save(tmp_path / "a.onnx"), save(tmp_path / "b.onnx", noise=0.05)
    runs = []
    for _ in range(3):
        code, out, err = validate(reference, candidate, "--layers", "--json", "--min-sqnr", 10)
        runs.append((code, out, [line for line in err.splitlines() if line.startswith("FAILED")]))
    assert runs[0] == runs[1] == runs[2]
    assert runs[0][0] == len(runs[0][2]) == 1


def test_checks_become_a_junit_file(tmp_path: Path, validate: Validate) -> None:
    reference, candidate = save(tmp_path / "a.onnx"), save(tmp_path / "b.onnx", noise=0.3)
    limits = tmp_path / "limits.yaml"
    limits.write_text("min_agreement: 100\nmin_sqnr: -100\nlayers:\n  '*': 30\n")
    code, out, _ = validate(reference, candidate, "--limits", limits, "--junit", tmp_path / "j.xml", "--json")
    found = json.loads(out)
    assert code == 1
    (suite,) = ElementTree.parse(tmp_path / "j.xml").getroot()  # noqa: S314  our own file
    assert suite[0].get("classname") == "b.onnx against a.onnx"
    assert [case.get("name") for case in suite] == [check["name"] for check in found["checks"]]
    assert [case.get("name") for case in suite if case.find("failure") is not None] == [
        "same top-1 class",
        "layers",
    ]


def test_inner_tensors_are_shown(tmp_path: Path, validate: Validate) -> None:
    reference, candidate = save(tmp_path / "a.onnx"), save(tmp_path / "b.onnx", noise=0.05)
    code, out, _ = validate(reference, candidate, "--layers")
    assert code == 0
    assert "steepest falls of SQNR" in out
    assert "inner tensors compared on 30 images; lowest SQNR" in out


@pytest.mark.parametrize("option", ["--junit", "--save-inputs", "--save-outputs"])
def test_what_cannot_be_written_is_said_before_anything_runs(
    option: str, tmp_path: Path, validate: Validate
) -> None:
    path = save(tmp_path / "a.onnx")
    code, out, err = validate(path, path, option, tmp_path / "a.onnx" / "file")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "a.onnx" in err
