"""``onnxcomp demo``, shortened: the same steps with fewer epochs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnxcomp import demo
from onnxcomp.compress import Job
from onnxcomp.model import Model
from onnxcomp.training.progress import Silent
from tests.commands.call import call


def test_ends_with_the_table(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "DENSE_EPOCHS", 2)
    monkeypatch.setattr(demo, "EPOCHS", 1)
    code, out, _ = call(capsys, "demo", "--run-dir", tmp_path / "demo", "--threads", 1, "--json")
    assert code == 0
    rows = json.loads(out)
    names = ["dense, as given", "dense, trained on", "pruned", "+ INT8", "+ distilled"]
    assert [row["name"] for row in rows] == names
    top1 = [row["evaluation"]["accuracy"]["top1"] for row in rows]
    assert min(top1[:2]) > 50, "two epochs are enough to learn something: 88 % measured"
    nonzero = [row["evaluation"]["parameters"]["nonzero"] for row in rows]
    assert max(nonzero[2:]) < 0.25 * nonzero[0]
    size = [row["evaluation"]["file"]["raw"] for row in rows]
    # 0.25 for the weights; on so small a network nodes and scales of the pairs are nearly as much.
    assert max(size[3:]) < 0.5 * size[0]


@pytest.mark.parametrize("resume", [False, True])
def test_resume_reaches_every_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resume: bool) -> None:
    """Where a folder is there already; the others are begun."""
    asked: list[bool] = []

    def train(network: Model, *args: object, resume: bool, **options: object) -> Model:
        asked.append(resume)
        return network

    def compress(job: Job, *args: object, **options: object) -> list[str]:
        asked.append(job.resume)
        raise StopIteration

    monkeypatch.setattr(demo, "train", train)
    monkeypatch.setattr(Job, "compress", compress)
    with pytest.raises(StopIteration):
        demo.demo(tmp_path, threads=1, progress=Silent(), resume=resume)
    (tmp_path / "pruned").mkdir()
    with pytest.raises(StopIteration):
        demo.demo(tmp_path, threads=1, progress=Silent(), resume=resume)
    assert asked == [resume, False, resume, resume]
