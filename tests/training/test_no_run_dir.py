"""Tests of onnxcomp.training.no_run_dir."""

from __future__ import annotations

import numpy as np

from onnxcomp.training.checkpoint import Checkpoint
from onnxcomp.training.identity import Identity
from onnxcomp.training.no_run_dir import NoRunDir
from onnxcomp.training.run_dir import RunDir

IDENTITY = Identity("abc", {"lr": 0.1})


def silent(text):
    raise AssertionError(text)


def test_other_ranks_write_nothing(tmp_path):
    with NoRunDir(tmp_path / "a") as run:
        assert run.saved(IDENTITY, silent) is None
        run.begin(IDENTITY, 0, silent)
        run.log({"step": 1})
        run.save(Checkpoint(5, {"w": np.ones(2, np.float32)}, {}), IDENTITY)
        assert (run.kept, run.measured(5)) == (5, False)
    assert not list(tmp_path.iterdir())


def test_it_has_what_the_loop_asks_of_a_run_dir():
    files_and_drawing = {"checkpoints", "journal", "config", "draw"}
    public = {name for name in dir(RunDir) if not name.startswith("_")} - files_and_drawing
    assert public <= set(dir(NoRunDir))
