"""The whole state of a run in one safetensors file: plain arrays and text, never pickle.

The order of the images, their augmentation and the learning rate are functions of the step, so
parameters, optimiser state, averaged weights, what pruning knows of the gradients and step continue a run
bit for bit.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from onnxcomp import __version__, files
from onnxcomp.errors import CheckpointError, OnnxcompError
from onnxcomp.training.blocks import Array
from onnxcomp.training.identity import Identity

FORMAT = "onnxcomp.checkpoint.2"
GROUPS = ("parameters", "optimizer", "average", "saliency")


class DamagedError(CheckpointError):
    """A checkpoint whose content is not what was written."""


@dataclass(frozen=True)
class Checkpoint:
    """State after ``step`` steps.

    Attributes:
        parameters: every array of the engine by name.
        optimizer: the optimiser's state by name.
        average: averaged weights by name, where the run averages them.
        window: sums since the last line of metrics, so that a line does not depend on interruptions.
        saliency: what a criterion of pruning knows of the gradients, by weight, where it asks for them and
            masks are still to close.
    """

    step: int
    parameters: Mapping[str, Array]
    optimizer: Mapping[str, Array]
    average: Mapping[str, Array] = field(default_factory=dict)
    window: Mapping[str, float] = field(default_factory=dict)
    saliency: Mapping[str, Array] = field(default_factory=dict)

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


def save(path: Path, checkpoint: Checkpoint, identity: Identity) -> None:
    """Replace the checkpoint at ``path`` in one step.

    Arrays of booleans (masks: a byte a value is enough) come back as float32.

    Raises:
        OnnxcompError: ``path`` cannot be written; what was there is kept.
    """
    arrays = {
        f"{group}/{name}": array for group in GROUPS for name, array in getattr(checkpoint, group).items()
    }
    facts = json.dumps(
        {
            "version": __version__,
            "step": checkpoint.step,
            "window": dict(checkpoint.window),
            "model": identity.model,
            "settings": dict(identity.settings),
        }
    )
    metadata = {"format": FORMAT, "facts": facts, "sha256": _digest(facts, arrays)}
    fix = "make room and continue with --resume"
    try:
        with files.atomic_path(path) as temporary:
            save_file(arrays, temporary, metadata)
    except SafetensorError as error:  # its own error for a full disk
        raise CheckpointError(f"cannot be written ({error})", where=str(path), fix=fix) from error
    except OnnxcompError as error:
        raise CheckpointError(error.what, where=error.where, fix=fix) from error


def load(path: Path) -> tuple[Checkpoint, Identity]:
    """Read the checkpoint at ``path`` and what run it is of.

    Raises:
        DamagedError: it is cut short, or a bit of it is not what was written; says how that showed.
        CheckpointError: it is of another format, or cannot be opened.
    """
    try:
        path.open("rb").close()  # which says why it cannot: safetensors' errors have no number
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise CheckpointError(
                    "is not a checkpoint of this version of onnxcomp",
                    where=str(path),
                    fix="choose another --run-dir",
                )
            # Not a mapping, though it has keys.
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata["sha256"] != _digest(metadata["facts"], arrays):
            raise ValueError("its checksum does not fit")
        return _parsed(json.loads(metadata["facts"]), arrays)
    except OSError as error:
        if error.errno not in (None, errno.EIO):
            raise CheckpointError(
                f"cannot be read ({error.strerror})", where=str(path), fix="let the file be read"
            ) from error
        raise _damaged(path, error) from error
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def _parsed(facts: dict[str, Any], arrays: Mapping[str, Array]) -> tuple[Checkpoint, Identity]:
    groups: dict[str, dict[str, Array]] = {group: {} for group in GROUPS}
    for key, array in arrays.items():
        group, name = key.split("/", 1)
        groups[group][name] = array.astype(np.float32) if array.dtype == np.bool_ else array
    checkpoint = Checkpoint(facts["step"], **groups, window=facts["window"])
    return checkpoint, Identity(facts["model"], facts["settings"])


def _damaged(path: Path, error: Exception) -> DamagedError:
    return DamagedError(
        f"is a damaged checkpoint ({error})", where=str(path), fix="train again in another run directory"
    )


def _digest(facts: str, arrays: Mapping[str, Array]) -> str:
    """SHA-256 over everything: the facts, and each array's name, type, shape and content."""
    digest = hashlib.sha256(facts.encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
