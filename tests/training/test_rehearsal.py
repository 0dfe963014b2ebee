from __future__ import annotations

import os
from pathlib import Path

import pytest

from onnxcomp import model as models
from onnxcomp.data import DataSet, open_data
from onnxcomp.errors import OnnxcompError
from onnxcomp.training import rehearsal
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.plan import Plan
from onnxcomp.training.ranks import Alone
from tests import zoo


@pytest.fixture
def data() -> DataSet:
    return open_data("digits")


@pytest.fixture
def plan(data: DataSet) -> Plan:
    model = models.from_proto(zoo.densenet(size=8, layers=(1, 1), growth=4))
    return Plan.of(model, data, TrainConfig(2, threads=1, tensorboard=True), Alone())


def test_it_tells_and_leaves_nothing(plan: Plan, data: DataSet, tmp_path: Path) -> None:
    found = rehearsal.rehearse(plan, data, tmp_path / "runs" / "a", Alone())
    assert list(tmp_path.iterdir()) == []
    assert found.writes == ()
    assert found.lines[0] == "would train on the 1,437 training images of digits"
    assert "  starts at its beginning" in found.lines
    assert found.lines[-1] == "  and TensorBoard's event files there"


def test_the_time_is_that_of_measured_steps(
    plan: Plan, data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 90.0, 100.0, 103.0, 200.0, 202.0])  # the first step is slow, and not counted
    monkeypatch.setattr(rehearsal.time, "perf_counter", lambda: next(clock))  # type: ignore[attr-defined]
    found = rehearsal.rehearse(plan, data, tmp_path / "a", Alone())
    assert any("a step took 2.00 s here, so 88 take about 3 min, " in line for line in found.lines)


def test_the_weights_of_the_plan_do_not_move(plan: Plan, data: DataSet, tmp_path: Path) -> None:
    before = models.to_proto(plan.model).SerializeToString()
    rehearsal.rehearse(plan, data, tmp_path / "a", Alone())
    assert models.to_proto(plan.model).SerializeToString() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OnnxcompError, match="cannot be created in"):
        rehearsal.check_folder(tmp_path / "a")


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OnnxcompError, match="cannot be created in"):
        rehearsal.check_folder(tmp_path / "file" / "a")
    rehearsal.check_folder(tmp_path / "a" / "b")
