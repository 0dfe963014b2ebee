"""Tests of onnxcomp.training.checkpoint."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from onnxcomp.errors import CheckpointError
from onnxcomp.training import checkpoint
from onnxcomp.training.checkpoint import Checkpoint, DamagedError, load, save
from onnxcomp.training.identity import Identity

IDENTITY = Identity("abc", {"lr": 0.1, "optimizer": "sgd", "clip": None, "nesterov": True})


def state(step=7):
    rng = np.random.default_rng(0)
    return Checkpoint(
        step,
        {
            "w": rng.normal(size=(4, 3)).astype(np.float32),
            "a/mask": rng.random((4, 3)) > 0.5,
            "s": np.array(0.25, np.float32),
        },
        {"momentum/w": rng.normal(size=12).astype(np.float32), "steps": np.array(7, np.int64)},
        {"updates": np.array(7, np.int64), "average/w": rng.normal(size=(4, 3)).astype(np.float32)},
        {"loss": 1 / 3, "steps": 2},
        {"w": rng.random((4, 3), np.float32)},
    )


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "c.safetensors"
    save(path, state(), IDENTITY)
    return path


def test_what_is_saved_comes_back_bit_for_bit(path):
    found, identity = load(path)
    assert (found.step, found.window, identity) == (7, {"loss": 1 / 3, "steps": 2}, IDENTITY)
    for group in checkpoint.GROUPS:
        ours, theirs = getattr(state(), group), getattr(found, group)
        assert ours.keys() == theirs.keys()
        for name, array in ours.items():
            expected = array.astype(np.float32) if array.dtype == np.bool_ else array
            assert (expected.dtype, expected.shape) == (theirs[name].dtype, theirs[name].shape)
            assert expected.tobytes() == theirs[name].tobytes()
    assert load_file(path)["parameters/a/mask"].dtype == np.bool_
    assert [entry.name for entry in path.parent.iterdir()] == ["c.safetensors"]


def test_a_checkpoint_from_before_there_was_saliency_is_read(tmp_path):
    """It differs from one of a criterion that needs none in nothing."""
    path = tmp_path / "old.safetensors"
    save(path, replace(state(), saliency={}), IDENTITY)
    assert not any(name.startswith("saliency") for name in load_file(path))
    found, identity = load(path)
    assert (found.saliency, identity) == ({}, IDENTITY)
    assert found.parameters.keys() == state().parameters.keys()


def test_a_full_disk_is_an_error_of_one_line_and_keeps_the_old_checkpoint(path, monkeypatch):
    def full(arrays, target, metadata):
        target.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(
        CheckpointError,
        match=r"c\.safetensors: cannot be written \(I/O error: No space left.*; make room and continue with",
    ):
        save(path, state(8), IDENTITY)
    assert load(path)[0].step == 7
    assert [entry.name for entry in path.parent.iterdir()] == ["c.safetensors"]


def test_restore_writes_into_the_live_arrays(path):
    saved, _ = load(path)
    live = {name: np.zeros_like(array) for name, array in saved.parameters.items()}
    kept = dict(live)
    saved.restore(live)
    for name, array in saved.parameters.items():
        assert live[name] is kept[name]
        assert np.array_equal(live[name], array)


def test_restore_refuses_other_parameters():
    with pytest.raises(CheckpointError, match="other parameters than the network"):
        state().restore({"w": np.zeros((4, 4), np.float32)})


@pytest.mark.parametrize("keep", [0, 4, 200, -1, -20])
def test_a_truncated_file_is_damaged(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedError, match=r"c\.safetensors: is a damaged checkpoint \("):
        load(path)


def test_every_bit_counts(path):
    content = path.read_bytes()
    # Past the format's name, which says that it is a checkpoint at all; a few hundred places of 2 kB.
    start = content.index(b"checkpoint.2") + len(b"checkpoint.2")
    for place in [*range(8), *range(start, len(content), 5)]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            load(path)
    path.write_bytes(content)
    assert load(path)[0].step == 7


def test_a_step_that_was_edited_is_damage(path):
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    facts = json.loads(metadata["facts"])
    facts["step"] = 8
    save_file(load_file(path), path, {**metadata, "facts": json.dumps(facts)})
    with pytest.raises(DamagedError, match="checksum"):
        load(path)


def test_names_and_shapes_count(path):
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    arrays = load_file(path)
    save_file({**arrays, "parameters/w": arrays["parameters/w"].reshape(3, 4)}, path, metadata)
    with pytest.raises(DamagedError, match="checksum"):
        load(path)
    arrays["parameters/v"] = arrays.pop("parameters/w")
    save_file(arrays, path, metadata)
    with pytest.raises(DamagedError, match="checksum"):
        load(path)


def test_a_missing_file_is_not_called_damaged(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.safetensors: cannot be read \(No such file") as caught:
        load(tmp_path / "none.safetensors")
    assert not isinstance(caught.value, DamagedError)


def test_another_safetensors_file_is_no_checkpoint(tmp_path):
    path = tmp_path / "c.safetensors"
    save_file({"w": np.ones(3, np.float32)}, path)
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        load(path)
