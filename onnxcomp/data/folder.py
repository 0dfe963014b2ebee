"""Image folders and their zips: ``train/<class>/*.jpg`` and ``test/<class>/*.jpg``.

Training images that nobody labelled lie in ``train`` itself.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from onnxcomp.data.archive import MAX_MEMBER, ZipTree, visible
from onnxcomp.data.dataset import UNLABELLED, DataSet, ImageSet
from onnxcomp.data.images import SUFFIXES, decode, read_header
from onnxcomp.errors import DataError

TRAIN, TEST = ("train",), ("test", "val")
ARRANGE = "arrange it as train/<class>/*.jpg (without labels train/*.jpg) and test/<class>/*.jpg"


class Tree(Protocol):
    """Folders and files, on disk or in an archive; ``""`` is the top."""

    where: str

    def folders(self, path: str) -> list[str]: ...

    def files(self, path: str) -> list[str]: ...

    def read(self, path: str) -> bytes: ...


class FolderTree:
    """The folders and files below a folder on disk."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._path = path

    def folders(self, path: str) -> list[str]:
        """Names of the visible folders in ``path``, sorted; links to folders count."""
        return self._names(path, folders=True)

    def files(self, path: str) -> list[str]:
        """Names of the visible files in ``path``, sorted."""
        return self._names(path, folders=False)

    def _names(self, path: str, folders: bool) -> list[str]:
        try:
            with os.scandir(self._path / path) as entries:
                return sorted(e.name for e in entries if visible(e.name) and e.is_dir() == folders)
        except OSError as error:
            raise self._unreadable(path, error) from error

    def read(self, path: str) -> bytes:
        """A file's bytes.

        Raises:
            DataError: it cannot be read, or is larger than any image file should be.
        """
        try:
            with (self._path / path).open("rb") as file:
                data = file.read(MAX_MEMBER + 1)
        except OSError as error:
            raise self._unreadable(path, error) from error
        if len(data) > MAX_MEMBER:
            where = f"{self.where}/{path}"
            raise DataError(f"larger than {MAX_MEMBER >> 20} MiB", where=where, fix="remove it")
        return data

    def _unreadable(self, path: str, error: OSError) -> DataError:
        where = f"{self.where}/{path}".rstrip("/")
        return DataError(f"cannot be read ({error.strerror})", where=where, fix="check its permissions")


@dataclass(frozen=True)
class EncodedImages:
    """Image files of a tree.

    Attributes:
        paths: of each image, inside the tree.
    """

    tree: Tree
    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, index: int) -> Image.Image:
        """Read and decode a file.

        Raises:
            DataError: it is broken; names the file.
        """
        path = self.paths[index]
        return decode(self.tree.read(path), f"{self.tree.where}/{path}")


def open_folder(path: Path) -> DataSet:
    """An image folder.

    Raises:
        DataError: as for :func:`read_tree`.
    """
    return read_tree(FolderTree(path), path.resolve().name)


def open_zip(path: Path) -> DataSet:
    """The zip of an image folder, read in place.

    Raises:
        DataError: as for :func:`read_tree`, and for a zip that is damaged or would expand without bound.
    """
    return read_tree(ZipTree(path), path.name)


def read_tree(tree: Tree, name: str) -> DataSet:
    """Classes in alphabetical order; ``val`` stands for ``test``; a single top folder is looked into.

    Images directly in ``train``, and no class folders there, have no labels; the classes are those of
    ``test``. Of each class's first image the header is read; the rest is decoded when asked for.

    Raises:
        DataError: train or test is missing, classes differ, a class is empty, or images lie elsewhere.
    """
    top = _top(tree)
    loose = _loose(tree, top)
    if loose:
        test = _read_split(tree, top, TEST)
        labels = np.full(len(loose), UNLABELLED, np.int64)
        return DataSet(name, ImageSet(EncodedImages(tree, loose), labels, test.classes), test)
    train, test = (_read_split(tree, top, names) for names in (TRAIN, TEST))
    if train.classes != test.classes:
        odd = sorted(set(train.classes) ^ set(test.classes))[0]
        present, absent = ("train", "test") if odd in train.classes else ("test", "train")
        raise DataError(
            f"the class {odd} is in {present} but not in {absent}",
            where=tree.where,
            fix="give both the same class folders",
        )
    return DataSet(name, train, test)


def _top(tree: Tree) -> str:
    folders = tree.folders("")
    if len(folders) == 1 and folders[0] not in TRAIN + TEST:
        return folders[0] + "/"
    return ""


def _loose(tree: Tree, top: str) -> tuple[str, ...]:
    """The images in ``train`` itself, where there is no folder in it."""
    folder = f"{top}{TRAIN[0]}"
    if TRAIN[0] not in tree.folders(top.rstrip("/")) or tree.folders(folder):
        return ()
    paths = tuple(f"{folder}/{name}" for name in _images(tree, folder))
    if paths:
        read_header(tree.read(paths[0]), f"{tree.where}/{paths[0]}")
    return paths


def _read_split(tree: Tree, top: str, names: tuple[str, ...]) -> ImageSet:
    present = tree.folders(top.rstrip("/"))
    folder = next((top + name for name in names if name in present), None)
    if folder is None:
        raise DataError(f"holds no folder {' or '.join(names)}", where=tree.where, fix=ARRANGE)
    classes = tree.folders(folder)
    stray = _images(tree, folder)
    if stray or not classes:
        what = f"{stray[0]} lies in no class folder" if stray else "holds no class folder"
        raise DataError(what, where=f"{tree.where}/{folder}", fix=ARRANGE)
    paths = [_class_images(tree, f"{folder}/{name}") for name in classes]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(p) for p in paths])
    return ImageSet(EncodedImages(tree, tuple(p for part in paths for p in part)), labels, tuple(classes))


def _class_images(tree: Tree, folder: str) -> list[str]:
    where = f"{tree.where}/{folder}"
    inner = tree.folders(folder)
    if inner:
        raise DataError(f"a class folder that holds the folder {inner[0]}", where=where, fix=ARRANGE)
    paths = [f"{folder}/{name}" for name in _images(tree, folder)]
    if not paths:
        kinds = " ".join(suffix.lstrip(".") for suffix in SUFFIXES)
        raise DataError(
            "a class folder without images", where=where, fix=f"add some ({kinds}) or remove the class"
        )
    read_header(tree.read(paths[0]), f"{tree.where}/{paths[0]}")
    return paths


def _images(tree: Tree, folder: str) -> list[str]:
    return [name for name in tree.files(folder) if name.lower().endswith(SUFFIXES)]
