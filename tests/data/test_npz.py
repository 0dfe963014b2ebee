from __future__ import annotations

import io
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxcomp.data import open_data
from onnxcomp.errors import DataError


def arrays(**changes):
    rng = np.random.default_rng(0)
    values = {
        "x_train": rng.integers(0, 256, (6, 5, 4, 3), np.uint8),
        "y_train": np.array([0, 1, 2, 0, 1, 2]),
        "x_test": rng.integers(0, 256, (3, 5, 4, 3), np.uint8),
        "y_test": np.array([2, 1, 0]),
    } | changes
    return {name: value for name, value in values.items() if value is not None}


def save(path, values, compressed=False):
    (np.savez_compressed if compressed else np.savez)(path, **values)
    return str(path)


def refusal(spec: str) -> str:
    with pytest.raises(DataError) as caught:
        open_data(spec)
    text = str(caught.value)
    assert text.startswith(spec)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("compressed", [False, True])
def test_values_come_back(tmp_path, compressed):
    values = arrays()
    data = open_data(save(tmp_path / "a.npz", values, compressed))
    assert data.name == "a.npz"
    assert data.classes == ("0", "1", "2")
    assert np.array_equal(data.train.load(range(6), (5, 4)), values["x_train"])
    assert np.array_equal(data.test.load(range(3), (5, 4)), values["x_test"])
    assert data.train.labels.dtype == np.int64
    assert data.test.labels.tolist() == [2, 1, 0]


def test_other_names_grey_images_and_column_labels(tmp_path):
    values = arrays()
    renamed = {
        "train_images": values["x_train"][..., 0],
        "train_labels": values["y_train"][:, None].astype(">i4"),
        "test_images": values["x_test"][..., :1],
        "test_labels": values["y_test"].astype(np.uint8),
    }
    data = open_data(save(tmp_path / "a.npz", renamed))
    assert np.array_equal(data.train.load([1], (5, 4))[0], values["x_train"][1, :, :, :1].repeat(3, 2))
    assert np.array_equal(data.test.load([2], (5, 4))[0], values["x_test"][2, :, :, :1].repeat(3, 2))
    assert data.train.labels.tolist() == values["y_train"].tolist()


def test_column_order_in_memory(tmp_path):
    values = arrays(x_train=np.asfortranarray(arrays()["x_train"]))
    data = open_data(save(tmp_path / "a.npz", values))
    assert np.array_equal(data.train.load(range(6), (5, 4)), values["x_train"])


def test_class_names(tmp_path):
    data = open_data(save(tmp_path / "a.npz", arrays(classes=np.array(["ant", "bee", "cow", "dog"]))))
    assert data.classes == ("ant", "bee", "cow", "dog")


def test_suffix_in_capitals(tmp_path):
    save(tmp_path / "a.npz", arrays())
    (tmp_path / "a.npz").rename(tmp_path / "A.NPZ")
    assert len(open_data(str(tmp_path / "A.NPZ")).train) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, "holds x_test, x_train, y_train, not x_train, y_train, x_test, y_test"),
        ({"x_train": np.zeros((6, 5, 4, 3), np.float32)}, "x_train: of type float32, not uint8"),
        ({"x_train": np.full((6, 5, 4, 3), np.nan)}, "x_train: of type float64, not uint8"),
        ({"x_train": np.zeros((6, 3, 5, 4), np.uint8)}, "x_train: of shape (6, 3, 5, 4), not (N, H, W, 3)"),
        ({"x_train": np.zeros(6, np.uint8)}, "x_train: of shape (6,)"),
        ({"x_train": np.uint8(3)}, "x_train: of shape ()"),
        (
            {"x_train": np.zeros((0, 5, 4, 3), np.uint8), "y_train": np.zeros(0, int)},
            "x_train: holds no image",
        ),
        ({"x_test": np.zeros((0, 5, 4, 3), np.uint8), "y_test": np.zeros(0, int)}, "x_test: holds no image"),
        ({"y_train": np.zeros(6)}, "y_train: float64 of shape (6,), not one integer for each of 6 images"),
        ({"y_train": np.full(6, np.nan)}, "y_train: float64 of shape (6,)"),
        ({"y_train": np.arange(5)}, "y_train: int64 of shape (5,), not one integer"),
        ({"y_train": np.eye(6, dtype=int)}, "y_train: int64 of shape (6, 6), not one integer"),
        ({"y_train": np.array([0, 1, 2, 0, 1, 9])}, "labels must be 0..3 without gaps, not 0..9"),
        ({"y_train": np.array([-1, 1, 2, 0, 1, 2])}, "labels must be 0..3 without gaps, not -1..2"),
        ({"y_test": np.array([0, 1, 3])}, "y_test: holds the label 3, outside 0..2"),
        ({"y_test": np.array([0, 2**63, 1], np.uint64)}, "y_test: holds the label 9223372036854775808"),
        ({"classes": np.array(["a", "b"])}, "y_train: holds the label 2, outside 0..1"),
        ({"classes": np.arange(3)}, "classes: not a row of names"),
        ({"classes": np.array([["a", "b", "c"]])}, "classes: not a row of names"),
        ({"classes": np.array([], str)}, "classes: not a"),
        (
            {"x_train": np.zeros(6, [("r", np.uint8)])},
            "x_train: of type [('r', 'u1')], neither numbers nor text",
        ),
    ],
)
def test_refused(tmp_path, changes, message):
    assert message in refusal(save(tmp_path / "a.npz", arrays(**changes)))


class Boom:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


@pytest.mark.parametrize("name", ["x_train", "y_test", "classes"])
def test_pickles_are_not_run(tmp_path, name):
    values = arrays(**{name: np.array([Boom()], object)})
    assert f"{name}: of type object, neither numbers nor text" in refusal(save(tmp_path / "a.npz", values))


def with_raw(path, name, data, compressed=False):
    """A good npz with one member's bytes replaced."""
    values = arrays()
    values.pop(name)
    save(path, values)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{name}.npy", data, zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED)
    return str(path)


def header(text: str, version: int = 1) -> bytes:
    size = struct.pack("<H", len(text)) if version == 1 else struct.pack("<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text.encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        b"not an array",
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000, 1000, 3)}") + b"x",
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 4)}") + b"xxxx",
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (-2, -2)}") + b"xxxx",
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2)}") + b"xxxxx",
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 20)}") + b"xxxxx",
        header("{'descr': '|u1', 'fortran_order': False}") + b"xxxx",
        header("{'descr': 'nonsense', 'fortran_order': False, 'shape': (4,)}") + b"xxxx",
        header("{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000000,)}"),
        header("__import__('os').abort()") + b"xxxx",
        header("(" * 9000) + b"xxxx",
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (4,)}", version=2) + b"xxxx",
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (4,)}" + " " * 20000) + b"xxxx",
    ],
    ids=lambda data: repr(data[10:40]),
)
def test_headers_that_lie(tmp_path, data):
    assert "/x_test: not an array, or a damaged one" in refusal(with_raw(tmp_path / "a.npz", "x_test", data))


def test_array_bomb(tmp_path):
    file = io.BytesIO()
    np.save(file, np.zeros((1000, 32, 32, 3), np.uint8))
    spec = with_raw(tmp_path / "a.npz", "x_test", file.getvalue(), compressed=True)
    assert "/x_test.npy: would expand more than 200 times" in refusal(spec)


def test_truncated_file(tmp_path):
    path = tmp_path / "a.npz"
    save(path, arrays())
    path.write_bytes(path.read_bytes()[:-50])
    assert "not a zip archive, or a damaged one" in refusal(str(path))


@settings(max_examples=200)
@given(position=st.integers(0, 10**6), value=st.integers(1, 255), compressed=st.booleans())
def test_a_damaged_file_is_read_or_refused(tmp_path_factory, position, value, compressed):
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    save(path, arrays(), compressed)
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= value
    path.write_bytes(data)
    try:
        opened = open_data(str(path))
    except DataError as error:
        message = str(error)
    else:
        message = str(path)
        assert np.array_equal(opened.train.load(range(6), (5, 4)), arrays()["x_train"])
    assert str(path) in message


def test_training_images_without_labels(tmp_path):
    data = open_data(save(tmp_path / "a.npz", arrays(y_train=None)))
    assert data.train.labels.tolist() == [-1] * 6
    assert not data.train.labelled
    assert data.test.labelled
    assert data.classes == ("0", "1", "2")


def test_test_images_need_labels(tmp_path):
    assert "not x_train" in refusal(save(tmp_path / "a.npz", arrays(y_test=None)))
