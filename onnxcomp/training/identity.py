"""What a run is a run of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnxcomp.data import DataSet
from onnxcomp.errors import CheckpointError

Settings = Mapping[str, float | int | str | bool | None]
SAMPLE = 16
"""Images that tell one data set from another, besides all labels."""


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
        if other.model != self.model:
            raise CheckpointError(
                "belongs to another model",
                where=where,
                fix="give what the run was started with, or choose another --run-dir",
            )
        for name in {**other.settings, **self.settings}:
            then, now = other.settings.get(name), self.settings.get(name)
            if then != now:
                raise CheckpointError(
                    f"belongs to a run with {name} {then}, not {now}",
                    where=where,
                    fix="give what the run was started with, or begin a new run --from its folder",
                )


def describe(data: DataSet) -> str:
    """Name, size and a digest of the labels and of some images: tells data sets apart."""
    digest = hashlib.sha256(repr(data.classes).encode() + data.train.labels.tobytes())
    some = np.linspace(0, len(data.train) - 1, SAMPLE).astype(np.int64)
    for index in some:
        digest.update(data.train.source.image(int(index)).tobytes())
    return f"{data.name} ({len(data.train)} images, {digest.hexdigest()[:12]})"
