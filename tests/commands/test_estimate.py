from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands.call import call
from tests.deploy.lint.networks import good

Capture = pytest.CaptureFixture[str]


def test_a_table_and_what_would_change_it(capsys: Capture, tmp_path: Path) -> None:
    path = good().save(tmp_path)
    code, out, err = call(capsys, "estimate", path, "--target", "xavier", "--layers", 3)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == f"{path} on Jetson AGX Xavier: estimate, the 3 layers that take most"
    assert lines[5].startswith("estimate, not measured: ")
    assert lines[-1].startswith("assumed: kernels reach 37% of the arithmetic rate")


def test_json(capsys: Capture, tmp_path: Path) -> None:
    code, out, _ = call(capsys, "estimate", good().save(tmp_path), "--target", "h200", "--batch", 8, "--json")
    found = json.loads(out)
    assert (code, found["target"], found["batch"]) == (0, "h200", 8)
    assert {"work", "us", "share", "bound", "sparse"} == set(found["layers"][0])
    assert found["layers"][0]["work"]["moved"] > 0


def test_a_target_without_figures(capsys: Capture, tmp_path: Path) -> None:
    code, out, err = call(capsys, "estimate", good().save(tmp_path), "--target", "ort-cpu")
    assert (code, out) == (2, "")
    assert err.startswith("Error: --target: nothing is known of how fast CPU is; choose a device")
