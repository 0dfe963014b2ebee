"""Tests of onnxcomp.training.checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file

from onnxcomp import model as models
from onnxcomp.errors import CheckpointError
from onnxcomp.training import checkpoint
from onnxcomp.training.checkpoint import Checkpoint, Identity, fingerprint, load, save
from tests import zoo

IDENTITY = Identity("abc", {"lr": 0.1, "optimizer": "sgd", "augment": True})


def state():
    rng = np.random.default_rng(0)
    parameters: dict[str, np.ndarray] = {
        "w": rng.normal(size=(4, 3)).astype(np.float32),
        "w.mask": (rng.random((4, 3)) > 0.5).astype(np.float32),
        "s": np.array(0.25, np.float32),
    }
    optimizer: dict[str, np.ndarray] = {
        "momentum/w": rng.normal(size=12).astype(np.float32),
        "steps": np.array(7, np.int64),
    }
    return Checkpoint(7, parameters, optimizer)


def test_what_is_saved_comes_back_bit_for_bit(tmp_path):
    path = tmp_path / "c.safetensors"
    save(path, state(), IDENTITY, masks={"w.mask"})
    found = load(path, IDENTITY)
    assert found.step == 7
    for ours, theirs in ((state().parameters, found.parameters), (state().optimizer, found.optimizer)):
        assert ours.keys() == theirs.keys()
        for name, array in ours.items():
            assert (array.dtype, array.shape) == (theirs[name].dtype, theirs[name].shape)
            assert array.tobytes() == theirs[name].tobytes()
    assert load_file(path)["parameter/w.mask"].dtype == np.bool_
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.safetensors"]


def test_a_full_disk_is_an_error_of_one_line_and_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    save(path, state(), IDENTITY)

    def full(arrays, target, metadata):
        target.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(
        CheckpointError, match=r"c\.safetensors: cannot be written \(I/O error: No space left"
    ):
        save(path, Checkpoint(8, state().parameters, {}), IDENTITY)
    assert load(path, IDENTITY).step == 7
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.safetensors"]


def test_restore_writes_into_the_live_arrays():
    live = {name: np.zeros_like(array) for name, array in state().parameters.items()}
    kept = dict(live)
    state().restore(live)
    for name, array in state().parameters.items():
        assert live[name] is kept[name]
        assert np.array_equal(live[name], array)


def test_restore_refuses_other_parameters():
    with pytest.raises(CheckpointError, match="other parameters than the network"):
        state().restore({"w": np.zeros((4, 4), np.float32)})


@pytest.mark.parametrize("keep", [0, 4, 200, -1, -20])
def test_a_truncated_file_is_damaged(tmp_path, keep):
    path = tmp_path / "c.safetensors"
    save(path, state(), IDENTITY)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"c\.safetensors: is a damaged checkpoint"):
        load(path, IDENTITY)


def test_a_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "c.safetensors"
    save(path, state(), IDENTITY)
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is a damaged checkpoint"):
        load(path, IDENTITY)


def test_a_missing_file_is_an_error_of_one_line(tmp_path):
    with pytest.raises(CheckpointError, match="is a damaged checkpoint"):
        load(tmp_path / "none.safetensors", IDENTITY)


def test_another_model_is_refused(tmp_path):
    path = tmp_path / "c.safetensors"
    save(path, state(), IDENTITY)
    with pytest.raises(CheckpointError, match="belongs to another model"):
        load(path, Identity("abd", IDENTITY.settings))


def test_another_setting_is_named(tmp_path):
    path = tmp_path / "c.safetensors"
    save(path, state(), IDENTITY)
    with pytest.raises(CheckpointError, match=r"belongs to a run with lr 0\.1, not 0\.2"):
        load(path, Identity("abc", {**IDENTITY.settings, "lr": 0.2}))


def test_another_safetensors_file_is_no_checkpoint(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "c.safetensors"
    save_file({"w": np.ones(3, np.float32)}, path)
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        load(path, IDENTITY)


def test_the_fingerprint_is_of_structure_weights_and_metadata():
    def model(**options):
        return models.from_proto(zoo.mlp(**options))

    plain = fingerprint(model())
    assert fingerprint(model()) == fingerprint(model().copy()) == plain
    changed = model()
    changed.classes = ("a", "b")
    other_weight = model()
    other_weight.constants()["w1"].values = other_weight.constants()["w1"].values + 1
    assert len({plain, fingerprint(model(seed=1)), fingerprint(changed), fingerprint(other_weight)}) == 4
