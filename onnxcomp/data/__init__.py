"""Data sets: open one by name or path, load its images, make batches of them."""

from __future__ import annotations

import os
from pathlib import Path

from onnxcomp.data.cifar import open_archive, open_cifar10
from onnxcomp.data.dataset import DataSet, ImageSet
from onnxcomp.data.digits import open_digits
from onnxcomp.data.folder import open_folder, open_zip
from onnxcomp.data.loader import TrainingBatches, evaluation_batches
from onnxcomp.data.npz import open_npz
from onnxcomp.data.transforms import to_input
from onnxcomp.errors import DataError
from onnxcomp.nearest import meant, meant_path

__all__ = ["DataSet", "ImageSet", "TrainingBatches", "evaluation_batches", "open_data", "to_input"]

NAMED = {"digits": open_digits, "cifar10": open_cifar10}
FILES = {".zip": open_zip, ".npz": open_npz, ".tar.gz": open_archive, ".tgz": open_archive}
KINDS = f"give {', '.join(NAMED)}, an image folder, or a file {', '.join(FILES)}"


def open_data(spec: str) -> DataSet:
    """Open ``digits``, ``cifar10``, an image folder or its zip, a CIFAR-10 archive, or an ``.npz``.

    Raises:
        DataError: no such name or path, or a data set that cannot be read.
        MissingPackageError: ``digits`` without scikit-learn.
    """
    if spec in NAMED:
        return NAMED[spec]()
    if not os.path.exists(spec):  # unlike Path.exists, False for a name too long to be one
        fix = meant(spec, NAMED, "") or meant_path(Path(spec), KINDS)
        raise DataError("there is no such data set, file or folder", where=spec or "''", fix=fix)
    path = Path(spec)
    if path.is_dir():
        return open_folder(path)
    for suffix, read in FILES.items():
        if path.name.lower().endswith(suffix):
            return read(path)
    raise DataError("its name ends like none of the known kinds of data set", where=spec, fix=KINDS)
