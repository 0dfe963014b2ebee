from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from onnxcomp.data import open_data
from onnxcomp.errors import DataError
from tests.data.pictures import encoded, two_classes, write_folder, write_zip


@pytest.fixture(params=["folder", "zip"])
def write(request, tmp_path):
    """Write files as a folder or as a zip and give the path as text."""
    if request.param == "folder":
        return lambda files: str(write_folder(tmp_path / "pictures", files))
    return lambda files: str(write_zip(tmp_path / "pictures.zip", files))


def refusal(spec: str) -> str:
    with pytest.raises(DataError) as caught:
        open_data(spec)
    text = str(caught.value)
    assert text.startswith(spec)
    assert "\n" not in text
    return text


def test_classes_labels_and_pixels(write):
    data = open_data(write(two_classes()))
    assert data.classes == data.test.classes == ("cat", "dog")
    assert data.train.labels.tolist() == data.test.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.train.labels.dtype == np.int64
    assert data.train.flip
    images = data.train.load([4, 2], (8, 8))
    assert images.dtype == np.uint8
    assert images.shape == (2, 8, 8, 3)
    assert images[:, 3, 3].tolist() == [[10, 100, 7], [20, 0, 7]]


@pytest.mark.parametrize("top", ["", "photos/"])
@pytest.mark.parametrize("test", ["test", "val"])
def test_one_top_folder_and_val(write, top, test):
    data = open_data(write({f"{top}.DS_Store": b"", **two_classes(top, test)}))
    assert (len(data.train), len(data.test)) == (6, 6)


def test_test_wins_over_val(write):
    data = open_data(write({**two_classes(), **two_classes(test="val", count=5)}))
    assert len(data.test) == 6


def test_every_kind_of_image(write):
    kinds = {"jpg": "JPEG", "JPEG": "JPEG", "png": "PNG", "bmp": "BMP", "webp": "WEBP"}
    files = two_classes()
    files |= {
        f"train/cat/x{k}.{suffix}": encoded(kind=kind) for k, (suffix, kind) in enumerate(kinds.items())
    }
    files |= {"train/cat/notes.txt": b"not an image", "train/cat/._1.png": b"macOS", "__MACOSX/train/a": b""}
    data = open_data(write(files))
    assert len(data.train) == 6 + len(kinds)
    images = data.train.load(range(3, 3 + len(kinds)), (8, 8)).astype(int)
    # JPEG and WebP are lossy: one colour comes back within 4 grey levels.
    assert np.abs(images - [200, 100, 50]).max() <= 4


@pytest.mark.parametrize(("present", "absent"), [("train", "test or val"), ("test", "train")])
def test_missing_split(write, present, absent):
    files = {name: data for name, data in two_classes().items() if name.startswith(present)}
    assert f"holds no folder {absent}; arrange it as train/<class>/*.jpg" in refusal(write(files))


def test_empty_class_folder(write):
    text = refusal(write({**two_classes(), "train/cow/": b"", "test/cow/": b""}))
    assert "/train/cow: a class folder without images" in text


def test_empty_split(write):
    text = refusal(write({"train/": b"", "test/cat/1.png": encoded()}))
    assert "/train: holds no class folder" in text


def test_classes_differ(write):
    text = refusal(write({**two_classes(), "test/cow/1.png": encoded()}))
    assert "the class cow is in test but not in train" in text


def test_images_in_the_wrong_place(write):
    assert "1.png lies in no class folder" in refusal(write({**two_classes(), "train/1.png": encoded()}))


def test_folder_in_a_class(write):
    text = refusal(write({**two_classes(), "train/cat/old/1.png": encoded()}))
    assert "/train/cat: a class folder that holds the folder old" in text


def test_broken_first_image_is_found_at_opening(write):
    text = refusal(write({**two_classes(), "train/cat/0.png": encoded()[:20]}))
    assert "/train/cat/0.png: a broken image" in text


def test_broken_image_is_named_when_reached(write):
    spec = write({**two_classes(), "train/dog/1.png": encoded(size=(64, 64))[:-40]})
    data = open_data(spec)
    assert data.train.load([0, 3], (8, 8)).shape == (2, 8, 8, 3)
    for reach in (lambda: data.train.load([4], (8, 8)), lambda: data.train.check((8, 8)), lambda: data.mean):
        with pytest.raises(
            DataError, match=r"pictures.*/train/dog/1.png: a broken image; replace or remove it"
        ):
            reach()


def test_file_too_large(tmp_path):
    folder = write_folder(tmp_path / "pictures", two_classes())
    with (folder / "train/cat/0.png").open("r+b") as file:
        file.truncate(64 * 2**20 + 1)
    assert "train/cat/0.png: larger than 64 MiB" in refusal(str(folder))


def test_a_file_that_vanished(tmp_path):
    folder = write_folder(tmp_path / "pictures", two_classes())
    data = open_data(str(folder))
    (folder / "test/dog/2.png").unlink()
    with pytest.raises(DataError, match=r"test/dog/2.png: cannot be read .No such file"):
        data.test.check((8, 8))


def test_linked_class_folder(tmp_path):
    folder = write_folder(tmp_path / "pictures", two_classes())
    (folder / "train/dog").rename(tmp_path / "dog")
    (folder / "train/dog").symlink_to(tmp_path / "dog")
    assert len(open_data(str(folder)).train) == 6


def test_zip_is_read_whatever_its_compression(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", two_classes(), zipfile.ZIP_DEFLATED)
    assert open_data(str(path)).train.load([5], (8, 8))[0, 0, 0].tolist() == [20, 100, 7]


def test_training_images_without_labels(write):
    files = {name: data for name, data in two_classes().items() if name.startswith("test/")}
    files |= {f"train/{k}.jpg": encoded(kind="JPEG") for k in range(5)}
    data = open_data(write({**files, "train/readme.txt": b"", "train/.DS_Store": b""}))
    assert data.classes == data.test.classes == ("cat", "dog")
    assert data.train.labels.tolist() == [-1] * 5
    assert not data.train.labelled
    assert data.test.labelled
    assert data.train.load([4, 2], (8, 8)).shape == (2, 8, 8, 3)
    with pytest.raises(DataError, match="its training images have no labels, which prune needs"):
        data.require_labels("prune")


def test_test_images_need_labels(write):
    files = {name: data for name, data in two_classes().items() if name.startswith("train/")}
    assert "lies in no class folder" in refusal(write({**files, "test/a.png": encoded(kind="PNG")}))


def test_images_beside_class_folders_are_refused(write):
    text = refusal(write({**two_classes(), "train/a.png": encoded(kind="PNG")}))
    assert "a.png lies in no class folder" in text
    assert "without labels train/*.jpg" in text
