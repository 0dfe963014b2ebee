"""CIFAR-10 (Krizhevsky, 2009): downloaded once, or from its .tar.gz, binary or Python version."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxcomp.data.dataset import DataSet, ImageSet, checked_labels
from onnxcomp.data.pickled import read_batch
from onnxcomp.data.statistics import Statistics
from onnxcomp.data.tarball import read_members
from onnxcomp.errors import DataError

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CHECKSUM = "md5:c32a1d4ab5d03f1284b67883e8d87530"  # as its page gives it
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# Of the 50,000 training images, in 0..255.
STATISTICS = Statistics((125.3069, 122.9504, 113.8654), (62.9932, 62.0887, 66.7049))

TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST = "test_batch"
RECORD = 1 + 3 * 32 * 32

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


def open_cifar10(folder: Path | None = None) -> DataSet:
    """CIFAR-10, downloaded once (170 MB) to the user's cache folder; its checksum is verified.

    Args:
        folder: where to keep the download instead.

    Raises:
        DataError: the download fails or is not what it should be.
    """
    import pooch  # type: ignore[import-untyped]  # pulls in requests, which every other command can do without

    try:
        path = pooch.retrieve(
            URL, CHECKSUM, fname=URL.rsplit("/", 1)[-1], path=folder or pooch.os_cache("onnxcomp")
        )
    except (OSError, ValueError) as error:  # requests' errors are OSErrors, a wrong checksum a ValueError
        raise DataError(
            f"cannot be downloaded ({error})",
            where=URL,
            fix="download it elsewhere and give the path of the archive as the data",
        ) from error
    return open_archive(Path(path), name="cifar10")


def open_archive(path: Path, name: str | None = None) -> DataSet:
    """CIFAR-10's .tar.gz, binary or Python version, read in memory.

    Raises:
        DataError: a batch is missing or damaged, or the archive is something else.
    """
    batches = (*TRAIN, TEST)
    members = read_members(path, {*batches, *(f"{batch}.bin" for batch in batches)})
    binary = f"{TEST}.bin" in members
    suffix, read = (".bin", _read_binary) if binary else ("", _read_pickled)
    missing = [batch + suffix for batch in batches if batch + suffix not in members]
    if missing:
        raise DataError(
            f"holds no {missing[0]}, so it is not CIFAR-10", where=str(path), fix=f"download {URL}"
        )
    read_batches = [read(members.pop(b + suffix), f"{path}/{b}{suffix}") for b in batches]
    train, test = _image_set(read_batches[:-1]), _image_set(read_batches[-1:])
    return DataSet(name or path.name, train, test, STATISTICS)


def _read_binary(data: bytes, where: str) -> Batch:
    if not data or len(data) % RECORD:
        raise DataError(
            f"{len(data)} bytes are no whole number of images", where=where, fix="download it again"
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    return records[:, 1:], checked_labels(records[:, 0], CLASSES, where)


def _read_pickled(data: bytes, where: str) -> Batch:
    images, labels = read_batch(data, where)
    return images, checked_labels(labels, CLASSES, where)


def _image_set(batches: list[Batch]) -> ImageSet:
    rows = np.concatenate([images for images, _ in batches])
    images = np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return ImageSet.from_arrays(images, np.concatenate([labels for _, labels in batches]), CLASSES)
