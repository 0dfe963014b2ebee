"""The whole state of a run in one safetensors file: plain arrays and text, never pickle.

The order of the images, their augmentation and the learning rate are functions of the step, so
parameters, optimiser state and step continue a run bit for bit.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from onnxcomp import __version__, files
from onnxcomp.errors import CheckpointError
from onnxcomp.model import Model, to_proto
from onnxcomp.training.optim import Array

FORMAT = "onnxcomp.checkpoint.1"
Settings = Mapping[str, float | int | str | bool]


@dataclass(frozen=True)
class Identity:
    """What a run is a run of; a resumed run must agree in all of it.

    Attributes:
        model: SHA-256 of the network as it came in: structure, weights and metadata.
        settings: options and data that decide the result, as JSON values.
    """

    model: str
    settings: Settings

    def check(self, other: Identity, where: str) -> None:
        """Refuse to continue ``other``, which was read from the file ``where``, as this run.

        Raises:
            CheckpointError: names the first difference.
        """
        fix = "give what the run was started with, or choose another --run-dir"
        if other.model != self.model:
            raise CheckpointError("belongs to another model", where=where, fix=fix)
        for name in {**other.settings, **self.settings}:
            then, now = other.settings.get(name), self.settings.get(name)
            if then != now:
                raise CheckpointError(f"belongs to a run with {name} {then}, not {now}", where=where, fix=fix)


@dataclass(frozen=True)
class Checkpoint:
    """State after ``step`` steps.

    Attributes:
        parameters: every array of the engine by name.
        optimizer: the optimiser's state by name.
    """

    step: int
    parameters: Mapping[str, Array]
    optimizer: Mapping[str, Array]

    def restore(self, parameters: Mapping[str, Array]) -> None:
        """Write the saved values into live arrays.

        Raises:
            CheckpointError: the names or shapes are not the same.
        """
        if {n: a.shape for n, a in parameters.items()} != {n: a.shape for n, a in self.parameters.items()}:
            raise CheckpointError(
                "holds other parameters than the network",
                where="checkpoint",
                fix="train again in another run directory",
            )
        for name, array in parameters.items():
            array[...] = self.parameters[name]


def fingerprint(model: Model) -> str:
    """SHA-256 of the network's structure, weights and metadata, in hexadecimal."""
    return hashlib.sha256(to_proto(model).SerializeToString(deterministic=True)).hexdigest()


def save(path: Path, checkpoint: Checkpoint, identity: Identity, *, masks: Collection[str] = ()) -> None:
    """Replace the checkpoint at ``path`` in one step.

    Args:
        masks: names of parameters that hold only 0 and 1; a byte a value is enough for them.

    Raises:
        OnnxcompError: ``path`` cannot be written; the checkpoint that was there is kept.
    """
    arrays = {
        f"parameter/{name}": array.astype(np.bool_) if name in masks else array
        for name, array in checkpoint.parameters.items()
    }
    arrays.update({f"optimizer/{name}": array for name, array in checkpoint.optimizer.items()})
    metadata = {
        "format": FORMAT,
        "version": __version__,
        "step": str(checkpoint.step),
        "model": identity.model,
        "settings": json.dumps(dict(identity.settings)),
        "crc32": str(_checksum(arrays)),
    }
    try:
        with files.atomic_path(path) as temporary:
            save_file(arrays, temporary, metadata)
    except (OSError, SafetensorError) as error:  # a full disk: safetensors has its own error for it
        raise CheckpointError(
            f"cannot be written ({error})", where=str(path), fix="make room and continue with --resume"
        ) from error


def load(path: Path, identity: Identity) -> Checkpoint:
    """Read the checkpoint at ``path`` for the run that ``identity`` describes.

    Raises:
        CheckpointError: it is missing, damaged, or of another model, data or settings.
    """
    where = str(path)
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise CheckpointError(
                    "is not a checkpoint of this version of onnxcomp",
                    where=where,
                    fix="choose another --run-dir",
                )
            saved = Identity(metadata["model"], json.loads(metadata["settings"]))
            identity.check(saved, where)
            step = int(metadata["step"])
            # Not a mapping, though it has keys.
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if int(metadata["crc32"]) != _checksum(arrays):
            raise ValueError("checksum")
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(
            "is a damaged checkpoint", where=where, fix="train again in another run directory"
        ) from error
    parameters = {
        name: array.astype(np.float32) if array.dtype == np.bool_ else array
        for name, array in _below("parameter/", arrays).items()
    }
    return Checkpoint(step, parameters, _below("optimizer/", arrays))


def _below(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}


def _checksum(arrays: Mapping[str, Array]) -> int:
    crc = 0
    for name in sorted(arrays):
        crc = zlib.crc32(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data, crc)
    return crc
