"""Tests of onnxcomp.training.checkpoints."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from onnxcomp.errors import CheckpointError
from onnxcomp.training.checkpoint import Checkpoint
from onnxcomp.training.checkpoints import Checkpoints
from onnxcomp.training.identity import Identity

IDENTITY = Identity("abc", {"lr": 0.1})


def state(step):
    return Checkpoint(step, {"w": np.full(50, step, np.float32)}, {})


def written(folder, *steps, keep=2):
    ours = Checkpoints(folder, keep)
    for step in steps:
        ours.save(state(step), IDENTITY)
    return ours


def newest(ours, notes=None):
    found = ours.newest(IDENTITY.check, [].append if notes is None else notes.append)
    return found and found[0].step


@pytest.mark.parametrize(("keep", "left"), [(1, [40]), (2, [40, 30]), (9, [40, 30, 20, 10])])
def test_the_last_ones_are_kept(tmp_path, keep, left):
    ours = written(tmp_path / "c", 10, 20, 30, 40, keep=keep)
    assert ours.steps() == left
    assert newest(ours) == 40
    assert sorted(os.listdir(tmp_path / "c")) == sorted(f"step-{s:08d}.safetensors" for s in left)


def test_there_is_none_before_the_first(tmp_path):
    ours = Checkpoints(tmp_path / "c", 2)
    assert newest(ours) is None
    assert not ours.folder.exists()


def damage(path, how):
    content = path.read_bytes()
    if how == "renamed":
        os.replace(path.with_name("step-00000020.safetensors"), path)
    else:
        flipped = bytearray(content)
        flipped[-2] ^= 1
        path.write_bytes({"cut": content[:-7], "empty": b"", "flipped": bytes(flipped)}[how])


@pytest.mark.parametrize("how", ["cut", "empty", "flipped", "renamed"])
def test_the_newest_good_one_is_taken_and_the_bad_one_named_in_a_line(tmp_path, how):
    ours = written(tmp_path / "c", 10, 20, 30, keep=3)
    damage(ours.path(30), how)
    notes: list[str] = []
    assert newest(ours, notes) == (10 if how == "renamed" else 20)
    (line,) = notes
    assert "\n" not in line
    assert "step-00000030.safetensors: " in line
    assert line.endswith("looking for an older one")
    assert 30 in ours.steps()  # looking changes nothing


def test_where_all_are_damaged_that_is_an_error_and_nothing_changes(tmp_path):
    ours = written(tmp_path / "c", 10, 20)
    for step in (10, 20):
        damage(ours.path(step), "cut")
    before = {path: path.read_bytes() for path in ours.folder.iterdir()}
    with pytest.raises(CheckpointError, match="c: none of its 2 checkpoints can be read; put a good copy"):
        newest(ours)
    assert {path: path.read_bytes() for path in ours.folder.iterdir()} == before


def test_another_run_s_is_refused_and_not_passed_over(tmp_path):
    ours = written(tmp_path / "c", 10)
    ours.save(state(20), Identity("abc", {"lr": 0.2}))
    with pytest.raises(CheckpointError, match=r"belongs to a run with lr 0\.2"):
        newest(ours)


def test_clean_drops_what_is_newer_and_half_written(tmp_path):
    ours = written(tmp_path / "c", 10, 20, 30, keep=3)
    (ours.folder / ".step-00000040.safetensors.ab12cd34.part").write_bytes(b"half")
    ours.clean(20)
    assert sorted(os.listdir(ours.folder)) == ["step-00000010.safetensors", "step-00000020.safetensors"]


class Killed(BaseException):
    pass


# Every call that changes the disk while a checkpoint is written and an old one goes.
CALLS = [(tempfile, "mkstemp"), (os, "fsync"), (Path, "replace"), (Path, "unlink"), (Path, "chmod")]


@pytest.mark.parametrize("call", range(12))
@pytest.mark.parametrize("keep", [1, 2])
def test_a_kill_at_any_moment_leaves_a_good_one(tmp_path, monkeypatch, call, keep):
    ours = written(tmp_path / "c", 10, 20, keep=keep)
    left = [call]

    def guard(real):
        def wrapped(*args, **options):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return real(*args, **options)

        return wrapped

    with monkeypatch.context() as patch:
        for owner, name in CALLS:
            patch.setattr(owner, name, guard(getattr(owner, name)))
        with suppress(Killed):
            ours.save(state(30), IDENTITY)
    assert newest(ours) in (20, 30)
    ours.save(state(30), IDENTITY)
    ours.clean(30)
    assert ours.steps() == [30, 20][:keep]


def test_a_full_disk_keeps_what_was_there(tmp_path, monkeypatch):
    ours = written(tmp_path / "c", 10, 20)

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"step-00000030\.safetensors: cannot be written \(No space"):
        ours.save(state(30), IDENTITY)
    assert ours.steps() == [20, 10]
    assert len(os.listdir(ours.folder)) == 2
    assert newest(ours) == 20
