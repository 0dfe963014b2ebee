"""Data sets as one ``.npz``: images, labels and, optionally, class names; never a pickle."""

from __future__ import annotations

import math
import tokenize
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from onnxcomp.data.archive import DAMAGED, open_checked
from onnxcomp.data.dataset import UNLABELLED, DataSet, ImageSet, checked_labels
from onnxcomp.errors import DataError

NAMES = (
    ("x_train", "y_train", "x_test", "y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
)
CLASSES = "classes"
MAX_ARRAY = 8 * 2**30
CHUNK = 16 * 2**20
SAVE = "save uint8 images (N, H, W, 3) or (N, H, W) and integer labels (N,) with numpy.savez"


def open_npz(path: Path) -> DataSet:
    """An ``.npz`` of ``x_train, y_train, x_test, y_test`` (or ``train_images, train_labels, ...``).

    Images are uint8 of shape (N, H, W, 3), (N, H, W, 1) or (N, H, W); labels integers of shape (N,)
    or (N, 1). Without ``classes`` (text, in label order) the classes are called by their number. Without
    ``y_train`` the training images have no labels.

    Raises:
        DataError: damaged, an array missing, of another type or shape, or a label out of range.
    """
    with open_checked(path, MAX_ARRAY) as archive:
        present = {info.filename.removesuffix(".npy") for info in archive.infolist()}
        names = next((names for names in NAMES if present.issuperset((names[0], *names[2:]))), None)
        if names is None:
            raise DataError(
                f"holds {', '.join(sorted(present)[:8]) or 'nothing'}, not {', '.join(NAMES[0])}",
                where=str(path),
                fix=SAVE,
            )
        arrays = {
            name: _read_array(archive, name, f"{path}/{name}")
            for name in (*names, CLASSES)
            if name in present
        }
    classes = _classes(arrays, names[1] if names[1] in arrays else names[3], f"{path}/{CLASSES}")
    train, test = (
        _image_set(arrays[images], arrays.get(labels), classes, f"{path}/{images}", f"{path}/{labels}")
        for images, labels in (names[:2], names[2:])
    )
    return DataSet(path.name, train, test)


def _read_array(archive: zipfile.ZipFile, name: str, where: str) -> NDArray[np.generic]:
    info = archive.getinfo(f"{name}.npy")
    try:
        with archive.open(info) as file:
            # 2.0 and 3.0 exist for structured types; their header's length is not bounded.
            if npy.read_magic(file) != (1, 0):
                raise ValueError("not version 1.0")
            shape, by_column, dtype = npy.read_array_header_1_0(file)
            if dtype.kind not in "biufU":
                raise DataError(f"of type {dtype}, neither numbers nor text", where=where, fix=SAVE)
            # The zip's own sizes are already in bounds; the shape must not ask for more than they hold.
            if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > info.file_size:
                raise ValueError("more values than bytes")
            array = np.empty(shape, dtype, "F" if by_column else "C")
            _fill(array.reshape(-1, order="A").view(np.uint8), file)
            return array
    except (*DAMAGED, TypeError, SyntaxError, LookupError, MemoryError, tokenize.TokenError) as error:
        raise DataError("not an array, or a damaged one", where=where, fix="save the file again") from error


def _fill(target: NDArray[np.uint8], file: IO[bytes]) -> None:
    start = 0
    while start < len(target):
        data = file.read(min(CHUNK, len(target) - start))
        if not data:
            raise EOFError("fewer bytes than the header says")
        target[start : start + len(data)] = np.frombuffer(data, np.uint8)
        start += len(data)
    if file.read(1):
        raise EOFError("more bytes than the header says")


def _classes(arrays: dict[str, NDArray[np.generic]], labels: str, where: str) -> tuple[str, ...]:
    if CLASSES in arrays:
        names = arrays[CLASSES]
        if names.dtype.kind != "U" or names.ndim != 1 or not len(names):
            raise DataError("not a row of names", where=where, fix="save numpy.array(['cat', 'dog'])")
        return tuple(str(name) for name in names)
    # Labels without gaps bound the number of classes by the number of images.
    used = np.unique(arrays[labels])
    if used.dtype.kind in "iu" and not np.array_equal(used, np.arange(len(used))):
        raise DataError(
            f"without it the labels must be 0..{len(used) - 1} without gaps, not {used[0]}..{used[-1]}",
            where=where,
            fix="number the classes from 0, or add their names as classes",
        )
    return tuple(str(number) for number in range(len(used)))


def _image_set(
    images: NDArray[np.generic],
    labels: NDArray[np.generic] | None,
    classes: tuple[str, ...],
    images_where: str,
    labels_where: str,
) -> ImageSet:
    pixels = _pixels(images, images_where)
    if labels is None:
        return ImageSet.from_arrays(pixels, np.full(len(pixels), UNLABELLED, np.int64), classes)
    if labels.dtype.kind not in "iu" or labels.shape not in ((len(pixels),), (len(pixels), 1)):
        raise DataError(
            f"{labels.dtype} of shape {labels.shape}, not one integer for each of {len(pixels)} images",
            where=labels_where,
            fix=SAVE,
        )
    return ImageSet.from_arrays(pixels, checked_labels(labels.reshape(-1), classes, labels_where), classes)


def _pixels(images: NDArray[np.generic], where: str) -> NDArray[np.uint8]:
    if images.dtype != np.uint8:
        raise DataError(f"of type {images.dtype}, not uint8 in 0..255", where=where, fix=SAVE)
    grey = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 1)
    if not grey and (images.ndim != 4 or images.shape[3] != 3):
        raise DataError(f"of shape {images.shape}, not (N, H, W, 3) or (N, H, W)", where=where, fix=SAVE)
    if not images.size:
        raise DataError("holds no image", where=where, fix=SAVE)
    pixels = np.ascontiguousarray(images.view(np.uint8))
    return np.repeat(pixels.reshape(*pixels.shape[:3], 1), 3, axis=3) if grey else pixels
