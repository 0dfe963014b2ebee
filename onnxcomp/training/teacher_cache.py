"""What is read of a teacher for every training image, computed once and kept on the disk.

Only where images do not vary: no augmentation. Who finds the rows of all images, of the same teacher and in
the order of the same data set, reads them and does not run the teacher.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcomp import kept
from onnxcomp.data import ImageSet, TrainingBatches, to_input
from onnxcomp.data.folder import EncodedImages
from onnxcomp.errors import OnnxcompError
from onnxcomp.model import Model
from onnxcomp.training.global_step import Batch
from onnxcomp.training.lowering import lower_teacher
from onnxcomp.training.ranks import Ranks
from onnxcomp.training.row_file import Bytes, DamagedError, RowFile
from onnxcomp.training.teacher_rows import Rows, description

LARGEST = 16 * 2**30
SPARE = 2**28
"""Bytes of the disk that stay free."""
CHUNK = 256
"""Images that are loaded at once."""


@dataclass(frozen=True)
class TeacherCache:
    """Rows of all training images.

    Attributes:
        rows: their layout.
        values: uint8 (images, ``rows.size``), on the disk.
    """

    rows: Rows
    values: Bytes

    def __call__(self, indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """What is read of the teacher for these images, by tensor name."""
        return self.rows.unpack(np.asarray(self.values[indices]))

    def beside(self, stream: Iterable[Batch], places: Iterable[NDArray[np.int64]]) -> Iterator[Batch]:
        """The batches of ``stream``, each with what is read of the teacher for the images at its places."""
        for (images, labels, *_), indices in zip(stream, places, strict=False):
            yield images, labels, self(indices)


@dataclass(frozen=True)
class Request:
    """What is to be kept.

    Attributes:
        model: compression form.
        batches: says the images and how they become the network's input.
        folder: of the files; None for ``teacher`` in onnxcomp's cache of the user.
        threads: of ONNX Runtime.
        note: told in a line what is done.
        progress: told, while the teacher runs, how many images of how many are done.
    """

    model: Model
    batches: TrainingBatches
    folder: Path | None
    threads: int
    note: Callable[[str], None]
    progress: Callable[[int, int], None] = lambda done, count: None

    def open_on(self, ranks: Ranks) -> TeacherCache | None:
        """:meth:`open` by rank 0; the others read what it wrote, and do without where it does.

        Raises:
            OnnxcompError, DataError: as :meth:`open`.
        """
        found = self.open() if ranks.rank == 0 else None
        there = ranks.share(found is not None)
        return self.open() if there and ranks.rank > 0 else found

    def open(self) -> TeacherCache | None:
        """The cache, computed where it is not there; None where the teacher must run at each step.

        Raises:
            OnnxcompError: a folder that was given cannot be written.
            DataError: a broken image; names the file.
        """
        teacher = lower_teacher(self.model, self.batches.batch_size)
        if teacher is None:
            return None
        if self.batches.varies:
            self.note("the teacher runs at each step: its images are augmented (--no-augment would cache it)")
            return None
        from onnxcomp.training.ort.teacher import TeacherSession

        images = np.zeros((self.batches.batch_size, *self.model.image_shape), np.float32)
        session = TeacherSession(teacher, images, self.threads)
        mixed = [(name, a.shape) for name, a in session.hidden.items() if len(a) != len(images)]
        if mixed:
            name, shape = mixed[0]
            self.note(
                f"the teacher runs at each step: {name} is {shape}, and its first axis is not the images'"
            )
            return None
        rows = Rows.of(session.hidden)
        key = self._key(rows)
        path = (self.folder or kept.default_root("teacher")) / f"{key}.rows"
        file = RowFile(path, key, len(self.batches.image_set), rows.size)
        known = self._read(file)
        if known is not None:
            self.note(f"the teacher's outputs are read from {path}")
        elif self._has_room(file) and self._compute(file, session, images, rows):
            known = self._read(file)
        return None if known is None else TeacherCache(rows, known)

    def _compute(self, file: RowFile, session: Any, images: NDArray[np.float32], rows: Rows) -> bool:
        """Run the teacher on all images; False where they cannot be kept, and need not be."""
        start = time.perf_counter()
        try:
            file.write(self._computed(session, images, rows))
        except OnnxcompError as error:
            if self.folder is not None or error.where not in (str(file.path), str(file.path.parent)):
                raise
            self.note(f"the teacher runs at each step: {error.where} {error.what}")
            return False
        took = (
            f"{file.count * file.size / 2**20:,.0f} MiB in {file.path}, {time.perf_counter() - start:.0f} s"
        )
        self.note(f"the teacher ran once on {file.count:,} images: {took}")
        return True

    def _key(self, rows: Rows) -> str:
        """Of the teacher, the images and how they are given to it."""
        from onnxcomp.student import subgraph

        batches = self.batches
        names = [column.name for column in rows.columns]
        teacher = subgraph(self.model, names)
        teacher.roles, teacher.losses, teacher.sparsities = {}, {}, {}
        return kept.digest(
            {
                "teacher": kept.model_digest(teacher),
                "rows": description(rows.columns),
                "images": _images_digest(batches.image_set, batches.size),
                "preprocessing": [batches.preprocessing.mean, batches.preprocessing.std],
                "input": [batches.channels, *batches.size],
            }
        )

    def _read(self, file: RowFile) -> Bytes | None:
        """The rows in the file, or None where it is not there or is not whole."""
        try:
            return file.read()
        except DamagedError as error:
            self.note(f"{file.path} is damaged ({error}): the teacher runs anew")
            return None

    def _has_room(self, file: RowFile) -> bool:
        size = file.count * file.size
        where = next(parent for parent in file.path.parents if parent.exists())
        free = shutil.disk_usage(where).free
        if size <= LARGEST and size + SPARE <= free:
            return True
        room = f"{free / 2**30:.1f} GiB are free in {where}" if size <= LARGEST else "the most is 16"
        self.note(f"the teacher runs at each step: its outputs would take {size / 2**30:.1f} GiB, {room}")
        return False

    def _computed(self, session: Any, images: NDArray[np.float32], rows: Rows) -> Iterator[Bytes]:
        batches = self.batches
        count, size = len(batches.image_set), batches.batch_size
        for start in range(0, count, size):
            chosen = np.arange(start, min(start + size, count))
            pixels = batches.image_set.load(chosen, batches.size)
            images[: len(chosen)] = to_input(pixels, batches.preprocessing, batches.channels)
            session.run()
            yield rows.pack({name: array[: len(chosen)] for name, array in session.hidden.items()})
            self.progress(start + len(chosen), count)


def _images_digest(image_set: ImageSet, size: tuple[int, int]) -> str:
    """Of all images: as they are loaded where they stay in memory, else as they came."""
    digest, source = hashlib.sha256(f"{len(image_set)}".encode()), image_set.source
    if image_set.fits_in_memory(size):
        for start in range(0, len(image_set), CHUNK):
            digest.update(
                image_set.load(np.arange(start, min(start + CHUNK, len(image_set))), size).tobytes()
            )
        return digest.hexdigest()
    for index in range(len(image_set)):
        if isinstance(source, EncodedImages):  # not decoded, which would take far longer
            content = source.tree.read(source.paths[index])
        else:
            image = source.image(index)
            content = repr(image.size).encode() + image.tobytes()
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()
