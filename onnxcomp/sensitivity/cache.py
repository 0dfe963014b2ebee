"""Measurements of earlier calls, found again by what they are measurements of.

A folder of ``<cache>/<key>`` holds those of one network, its images and the way to compress; the key is a
digest of all three. Each file in it is one point. They are written one by one and in one step, so a kill
loses at most the point that was being measured, and several processes may share the folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from onnxcomp import files, kept
from onnxcomp.data import ImageSet
from onnxcomp.data.decoded import Size
from onnxcomp.kept import digest, model_digest

__all__ = ["Cache", "Entry", "default_root", "digest", "digest_of", "key_of", "model_digest"]

RULE = 2
"""Counts up when the same network on the same images would give other numbers than before."""
DENSE = ""
"""The name, no weight's, under which the network is kept as it is."""
CHUNK = 256
Values = Mapping[str, float | None]
"""Numbers of a point by their names."""
Place = tuple[str, str | float]
"""A weight, and what is done with it: a share of zeros, or a word."""


@dataclass(frozen=True)
class Entry:
    """What one file holds."""

    key: str
    place: Place
    point: Values

    def to_text(self) -> str:
        """As JSON, with a digest of itself."""
        body = asdict(self)
        return json.dumps({**body, "digest": digest(body)}, allow_nan=False)


@dataclass(frozen=True)
class Cache:
    """Points of one network, its images and the way to compress.

    Attributes:
        root: of the caches of all networks.
        key: see :func:`digest`.
    """

    root: Path
    key: str

    @property
    def folder(self) -> Path:
        return self.root / self.key[:32]

    def get(self, place: Place) -> dict[str, float | None] | None:
        """The point, or None where it has not been measured.

        Raises:
            ValueError: the entry is damaged; names its file.
        """
        path = self._path(place)
        try:
            text = path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(str(path)) from error
        return self._parse(text, place, path)

    def put(self, place: Place, point: Values) -> None:
        """Keep a point.

        Raises:
            OnnxcompError: the folder cannot be created or written.
        """
        files.make_folder(self.folder)
        text = Entry(self.key, place, point).to_text()
        files.write_atomically(self._path(place), lambda path: _write(path, text))

    def _path(self, place: Place) -> Path:
        return self.folder / f"{digest(list(place))[:32]}.json"

    def _parse(self, text: str, place: Place, path: Path) -> dict[str, float | None]:
        try:
            point = dict(json.loads(text)["point"])
            whole = text.strip() == Entry(self.key, place, point).to_text()
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise ValueError(str(path)) from error
        if not whole:
            raise ValueError(str(path))
        return point


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")


def default_root() -> Path:
    """``sensitivity`` in onnxcomp's folder of the user's cache."""
    return kept.default_root("sensitivity")


def key_of(model: str, images: str, way: Mapping[str, str | int]) -> str:
    """The key of a network, its images (see :func:`digest_of`) and the way to compress."""
    return digest({"rule": RULE, "model": model, "images": images, "way": dict(way)})


def digest_of(image_set: ImageSet, size: Size) -> str:
    """SHA-256 of what the network sees: every pixel at its size, and the labels.

    Raises:
        DataError: a broken image; names the file.
    """
    found = hashlib.sha256(repr(size).encode() + image_set.labels.tobytes())
    for start in range(0, len(image_set), CHUNK):
        chosen = range(start, min(start + CHUNK, len(image_set)))
        found.update(image_set.load(chosen, size).tobytes())
    return found.hexdigest()
