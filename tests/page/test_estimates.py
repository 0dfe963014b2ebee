"""How long networks would take on devices that are not at hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from onnxcomp.deploy.estimate import estimate
from onnxcomp.deploy.targets import get_target
from onnxcomp.errors import OnnxcompError
from onnxcomp.page import estimates, runs


def test_its_own_target_and_another(made: Path) -> None:
    networks = runs.read(made, "run").networks
    steps = []
    column, problems = estimates.column(networks, get_target("xavier"), lambda: steps.append(1))
    assert (column.target, problems, len(steps)) == ("xavier", [], 2)
    dense, compressed = (column.cells[one.digest] for one in networks)
    assert compressed.us == estimate(made / "deployable.onnx", get_target("xavier")).us
    assert (dense.int8, compressed.int8 > 0) == (0, True)
    column, problems = estimates.column(networks, get_target("orin"))
    assert (column.target, problems, len(column.cells)) == ("orin", [], 2)


def test_what_cannot_be_estimated_says_why(made: Path) -> None:
    networks = [replace(one, source=None) for one in runs.read(made, "run").networks]
    column, problems = estimates.column(networks, get_target("orin"))
    assert not column.cells
    assert problems == [
        "no estimate of dense, as given, pruned + INT8 + distilled for orin: the file to finalize is gone"
    ]


def test_which_targets_there_are(made: Path) -> None:
    networks = runs.read(made, "run").networks
    targets, problems = estimates.targets_of(networks, ["orin", "xavier"])
    assert [target.name for target in targets] == ["xavier", "orin"]
    assert problems == []
    on_cpu = [replace(networks[1], target="ort-cpu"), replace(networks[1], target="nowhere")]
    targets, problems = estimates.targets_of(on_cpu, [])
    assert targets == [], (
        "nothing is known of the speed of a CPU: what was measured there stands in the table"
    )
    assert len(problems) == 1
    assert problems[0].startswith("target nowhere: ")
    for name in ("ort-cpu", "nowhere"):
        with pytest.raises(OnnxcompError):
            estimates.targets_of(networks, [name])
