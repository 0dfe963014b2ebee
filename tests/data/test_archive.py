from __future__ import annotations

import struct
import threading
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxcomp.data import archive, open_data
from onnxcomp.data.archive import ZipTree
from onnxcomp.errors import DataError
from tests.data.pictures import encoded, two_classes, write_zip


def refusal(path) -> str:
    with pytest.raises(DataError) as caught:
        ZipTree(path)
    text = str(caught.value)
    assert "\n" not in text
    return text


def one_member(path, declared: int, data: bytes, method: int = zipfile.ZIP_STORED, flags: int = 0, name=b"a"):
    """A zip of one member whose declared size, method and flags are free to lie."""
    sizes = struct.pack("<IIIHH", zlib.crc32(data), len(data), declared, len(name), 0)
    times = struct.pack("<HHHH", flags, method, 0, 33)
    local = b"PK\3\4" + struct.pack("<H", 20) + times + sizes + name + data
    central = (
        b"PK\1\2" + struct.pack("<HH", 20, 20) + times + sizes + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    )
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    path.write_bytes(local + central + end)
    return path


@pytest.mark.parametrize("name", ["../a.png", "train/../../a.png", "/etc/passwd", "C:/a.png", "train\\a.png"])
def test_names_that_leave_the_archive(tmp_path, name):
    path = write_zip(tmp_path / "a.zip", {**two_classes(), name: b""})
    text = refusal(path)
    assert f"{path}/{name}: a name that may leave the archive" in text
    assert list(tmp_path.iterdir()) == [path]


def test_symbolic_link(tmp_path):
    link = zipfile.ZipInfo("train/cat/1.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(link, "/etc/passwd")
    assert "train/cat/1.png: a symbolic link" in refusal(tmp_path / "a.zip")


def test_member_too_large(tmp_path):
    path = one_member(tmp_path / "a.zip", 64 * 2**20 + 1, b"x")
    assert "a: would expand to 64 MiB, more than 64" in refusal(path)


def test_zip_bomb(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"train/zeros": bytes(2 * 2**20)}, zipfile.ZIP_DEFLATED)
    assert "train/zeros: would expand more than 200 times" in refusal(path)
    small = write_zip(tmp_path / "b.zip", {"zeros": bytes(2**20)}, zipfile.ZIP_DEFLATED)
    assert ZipTree(small).read("zeros") == bytes(2**20)


def test_total_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_TOTAL", 2**20)
    path = write_zip(tmp_path / "a.zip", {"a": bytes(2**20), "b": b"x"})
    assert "would expand to 0 GiB, more than 0" in refusal(path)


def test_data_longer_than_declared(tmp_path):
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = compressor.compress(bytes(50 * 2**20)) + compressor.flush()
    tree = ZipTree(one_member(tmp_path / "a.zip", 100, data, zipfile.ZIP_DEFLATED))
    tracemalloc.start()
    with pytest.raises(DataError, match="a: damaged in the archive"):
        tree.read("a")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20, "50 MiB were not expanded"


def test_data_shorter_than_declared(tmp_path):
    tree = ZipTree(one_member(tmp_path / "a.zip", 100, b"short"))
    with pytest.raises(DataError, match=r"a: (damaged|cut short) in the archive"):
        tree.read("a")


def test_encrypted(tmp_path):
    assert "a: encrypted" in refusal(one_member(tmp_path / "a.zip", 1, b"x", flags=1))


def test_unusual_compression(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a": b"x"}, zipfile.ZIP_LZMA)
    assert "a: compressed with method 14; use deflate" in refusal(path)


def test_member_without_a_name(tmp_path):
    assert "a member without a name" in refusal(one_member(tmp_path / "a.zip", 1, b"x", name=b""))


def test_file_twice(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"train/a": b"1", "train/./a": b"2"})
    assert "train/a: is there twice" in refusal(path)


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\3\4", bytes(1000)])
def test_not_a_zip(tmp_path, data):
    (tmp_path / "a.zip").write_bytes(data)
    assert "not a zip archive, or a damaged one" in refusal(tmp_path / "a.zip")


def test_name_that_is_not_utf8(tmp_path):
    path = one_member(tmp_path / "a.zip", 1, b"x", flags=0x800, name=b"\xff\xfe")
    assert "not a zip archive, or a damaged one" in refusal(path)


def test_damaged_member_is_named(tmp_path):
    path = write_zip(tmp_path / "a.zip", two_classes())
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        start = file.getinfo("train/dog/2.png").header_offset
    data[start + 60] ^= 255
    path.write_bytes(data)
    opened = open_data(str(path))
    with pytest.raises(DataError, match=r"a.zip/train/dog/2.png: damaged in the archive"):
        opened.train.check((8, 8))


@settings(max_examples=200)
@given(position=st.integers(0, 10**6), value=st.integers(1, 255), cut=st.integers(0, 10**6))
def test_a_damaged_zip_is_read_or_refused(tmp_path_factory, position, value, cut):
    path = tmp_path_factory.mktemp("zip") / "a.zip"
    data = bytearray(write_zip(path, two_classes(count=1), zipfile.ZIP_DEFLATED).read_bytes())
    data[position % len(data)] ^= value
    path.write_bytes(data[: len(data) - (cut % 40 if cut % 3 == 0 else 0)])
    try:
        opened = open_data(str(path))
        opened.train.check((8, 8))
        opened.test.check((8, 8))
    except DataError as error:
        message = str(error)
    else:
        message = str(path)
        assert opened.train.load([0], (8, 8)).shape == (1, 8, 8, 3)
    assert str(path) in message


def test_many_threads_read_one_zip(tmp_path):
    colours = [(k, 2 * k, 255 - k) for k in range(64)]
    files = {
        f"{split}/x/{k:02}.png": encoded(c) for split in ("train", "test") for k, c in enumerate(colours)
    }
    images = open_data(str(write_zip(tmp_path / "a.zip", files))).train
    seen: list[np.ndarray] = []

    def read(seed: int) -> None:
        order = np.random.default_rng(seed).permutation(64)
        # Three sizes: two share a store between threads, all share the file.
        pixels = images.load(order, (8, 8 + seed % 3))[:, 4, 4]
        seen.append(pixels[np.argsort(order)])

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert all(pixels.tolist() == [list(c) for c in colours] for pixels in seen)
