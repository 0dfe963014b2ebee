"""What calibration saw in earlier calls: observations and logits, kept on the disk.

A folder of ``<root>/<key>`` holds what is known of one network on one row of images; the key is a digest of
the network up to its logits (structure, weights, masks, Q/DQ) and of every value that it is given, in order
and in batches. It has at most three files, each written in one step, so several processes may share the
folder: where two write at once the later one's file stays, and what only the other knew is measured again.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onnxcomp import files
from onnxcomp.calibration import ImageCalibration
from onnxcomp.errors import OnnxcompError
from onnxcomp.kept import digest, model_digest
from onnxcomp.model import Model
from onnxcomp.observed import Observed
from onnxcomp.student import student

RULE = 2
"""Counts up when the same network on the same images would be observed otherwise than before."""
HISTOGRAMS, RANGES, LOGITS = "histograms", "ranges", "logits"
DIGEST = 64
"""Bytes behind the archive: SHA-256 in hexadecimal of the key and of all before."""
Arrays = Mapping[str, npt.NDArray[np.generic]]
Batch = npt.NDArray[np.float32]


@dataclass(frozen=True)
class CachedCalibration:
    """A calibration that asks for nothing twice; see :class:`onnxcomp.passes.base.Calibration`.

    Attributes:
        source: measures what is not known.
        images: makes the batches that ``source`` runs, anew, without telling of progress.
        root: the folder; need not exist.
        warn: told in one line of a damaged file, which is measured anew, and of a folder that cannot be
            written, without which everything works.
    """

    source: ImageCalibration
    images: Callable[[], Iterable[Batch]]
    root: Path
    warn: Callable[[str], None]
    _digests: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        return self.source.labels

    def observe(self, model: Model, tensors: Sequence[str], *, histogram: bool = True) -> dict[str, Observed]:
        """As :meth:`onnxcomp.calibration.ImageCalibration.observe`; only what is not known is measured."""
        place = self._place(model, tensors)
        if place is None:
            return self.source.observe(model, tensors, histogram=histogram)
        known = _to_observed(self._read(place, HISTOGRAMS))
        if not histogram:
            known = {**_to_observed(self._read(place, RANGES)), **known}
        missing = [name for name in tensors if name not in known]
        if missing:
            known.update(self.source.observe(model, missing, histogram=histogram))
            kind = HISTOGRAMS if histogram else RANGES
            self._write(place, kind, _to_arrays(known))
        return {name: known[name] for name in tensors}

    def run(self, model: Model, tensors: Sequence[str]) -> Iterator[Mapping[str, Batch]]:
        """As :meth:`onnxcomp.calibration.ImageCalibration.run`; logits alone are kept."""
        name = model.logits.name
        place = self._place(model, tensors) if list(tensors) == [name] else None
        if place is None:
            yield from self.source.run(model, tensors)
            return
        known = [values.astype(np.float32) for values in self._read(place, LOGITS).values()]
        # An empty last batch says that there are no more.
        for values in known:
            if len(values):
                yield {name: values}
        if not known or len(known[-1]):
            yield from self._go_on(model, name, known, place)

    def _go_on(
        self, model: Model, name: str, known: list[Batch], place: Path
    ) -> Iterator[Mapping[str, Batch]]:
        """The batches after those that are known; keeps them, however many are asked for."""
        found = list(known)
        try:
            for index, values in enumerate(self.source.run(model, [name])):
                if index >= len(known):
                    found.append(values[name].copy())
                    yield values
            found.append(np.zeros((0, model.num_classes), np.float32))
        finally:
            if len(found) > len(known):
                self._write(place, LOGITS, {f"{index:06}": values for index, values in enumerate(found)})

    def _place(self, model: Model, tensors: Sequence[str]) -> Path | None:
        """The folder of a network; None where it is asked for a tensor that its logits do not depend on."""
        cut = student(model)
        if not cut.graph.tensors().keys() >= set(tensors):
            return None
        key = digest({"rule": RULE, "model": model_digest(cut), "images": self._images_digest()})
        return self.root / key[:32]

    def _images_digest(self) -> str:
        if not self._digests:
            found = hashlib.sha256()
            for batch in self.images():
                found.update(repr((batch.shape, str(batch.dtype))).encode())
                found.update(batch.tobytes())
            self._digests["images"] = found.hexdigest()
        return self._digests["images"]

    def _read(self, place: Path, kind: str) -> dict[str, npt.NDArray[np.generic]]:
        """The arrays of a file; none where there is no such file, or a damaged one."""
        path = place / f"{kind}.npz"
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            self.warn(f"{path}: cannot be read ({error.strerror}), measured anew")
            return {}
        if data[-DIGEST:] != _signature(path, data[:-DIGEST]):
            self.warn(f"{path}: damaged, measured anew")
            return {}
        with np.load(io.BytesIO(data[:-DIGEST]), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}

    def _write(self, place: Path, kind: str, arrays: Arrays) -> None:
        path = place / f"{kind}.npz"
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]  # numpy's stub takes them for allow_pickle
        data = buffer.getvalue()
        try:
            files.make_folder(place)
            files.write_atomically(path, lambda part: _dump(part, data + _signature(path, data)))
        except OnnxcompError as error:
            self.warn(f"calibration is not kept: {error}")


def _dump(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _signature(path: Path, data: bytes) -> bytes:
    """Of a file's place and content: a file that was moved is another network's."""
    return hashlib.sha256(f"{path.parent.name}/{path.name}".encode() + data).hexdigest().encode()


NUMBERS = ("limit", "low", "high", "moving_low", "moving_high", "batches")


def _to_arrays(seen: Mapping[str, Observed]) -> Arrays:
    """Few arrays, whatever the number of tensors: counts without their zeros, one tensor behind the other."""
    numbers = [[float(getattr(one, name)) for name in NUMBERS] for one in seen.values()]
    bins = [np.flatnonzero(one.counts) for one in seen.values()]
    return {
        "names": np.array(list(seen), np.str_),
        "numbers": np.array(numbers, np.float64).reshape(-1, len(NUMBERS)),
        "histogram": np.array([one.histogram for one in seen.values()], np.bool_),
        "sizes": np.array([len(one) for one in bins], np.int64),
        "bins": np.concatenate([np.zeros(0, np.int64), *bins]).astype(np.uint16),
        "counts": np.concatenate(
            [np.zeros(0), *(one.counts[at] for one, at in zip(seen.values(), bins, strict=True))]
        ),
    }


def _to_observed(arrays: Arrays) -> dict[str, Observed]:
    if not arrays:
        return {}
    ends = np.cumsum(arrays["sizes"])
    bins, counts = (np.split(arrays[name], ends[:-1]) for name in ("bins", "counts"))
    found = {}
    for index, name in enumerate(arrays["names"]):
        one = Observed(histogram=bool(arrays["histogram"][index]))
        for attribute, value in zip(NUMBERS, arrays["numbers"][index], strict=True):
            setattr(one, attribute, float(value))
        one.batches = int(one.batches)
        one.counts[bins[index]] = counts[index]
        found[str(name)] = one
    return found
