from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import pickle
import struct
import tarfile
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxcomp.data import cifar, open_data, tarball
from onnxcomp.data.pickled import read_batch
from onnxcomp.errors import DataError

COUNT = 4
NAMES = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]


def images(seed: int) -> np.ndarray:
    """Rows as the archive keeps them: 3072 values, channel by channel."""
    return np.random.default_rng(seed).integers(0, 256, (COUNT, 3072), np.uint8)


def labels(seed: int) -> list[int]:
    return [(seed + k) % 10 for k in range(COUNT)]


def binary() -> dict[str, bytes]:
    rows = {n: np.column_stack([np.array(labels(k), np.uint8), images(k)]) for k, n in enumerate(NAMES)}
    return {f"cifar-10-batches-bin/{name}.bin": row.tobytes() for name, row in rows.items()}


def old_text(text: bytes) -> bytes:
    """A str of Python 2 as its pickle protocol 2 writes it."""
    return b"U" + bytes([len(text)]) + text


def old_array(rows: np.ndarray, code: bytes = b"u1") -> bytes:
    """A numpy array as Python 2 pickled it: the form of the published archive."""
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + old_text(b"b") + b"\x87R"
    dtype = b"cnumpy\ndtype\n" + old_text(code) + b"K\0K\1\x87R(K\3" + old_text(b"|")
    dtype += b"NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\0tb"
    shape = b"".join(b"M" + struct.pack("<H", n) for n in rows.shape) + b"\x86"
    data = rows.tobytes()
    return empty + b"(K\1" + shape + dtype + b"\x89T" + struct.pack("<I", len(data)) + data + b"tb"


def old_batch(seed: int, **changes: bytes) -> bytes:
    entries = {
        "batch_label": old_text(b"training batch"),
        "labels": b"](" + b"".join(b"K" + bytes([label]) for label in labels(seed)) + b"e",
        "data": old_array(images(seed)),
    } | changes
    return b"\x80\2}(" + b"".join(old_text(k.encode()) + v for k, v in entries.items()) + b"u."


def old_python() -> dict[str, bytes]:
    return {f"cifar-10-batches-py/{name}": old_batch(k) for k, name in enumerate(NAMES)}


def new_python(protocol: int) -> dict[str, bytes]:
    batches = ({"data": images(k), "labels": labels(k)} for k in range(6))
    return {f"x/{n}": pickle.dumps(b, protocol) for n, b in zip(NAMES, batches, strict=True)}


def write_tar(path, files) -> str:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return str(path)


def refusal(spec: str) -> str:
    with pytest.raises(DataError) as caught:
        open_data(spec)
    text = str(caught.value)
    assert text.startswith(spec)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("files", "suffix"),
    [(binary(), ".tar.gz"), (old_python(), ".tar.gz"), (new_python(3), ".tgz"), (new_python(4), ".tgz")],
    ids=["binary", "python2", "protocol3", "protocol4"],
)
def test_every_version_gives_the_same(tmp_path, files, suffix):
    data = open_data(write_tar(tmp_path / f"cifar{suffix}", files))
    assert (len(data.train), len(data.test)) == (5 * COUNT, COUNT)
    assert data.classes[0] == "airplane"
    assert data.classes[9] == "truck"
    assert data.train.flip
    assert data.train.labels.tolist() == [label for seed in range(5) for label in labels(seed)]
    expected = images(5).reshape(COUNT, 3, 32, 32).transpose(0, 2, 3, 1)
    assert np.array_equal(data.test.load(range(COUNT), (32, 32)), expected)
    assert np.array_equal(
        data.train.load([COUNT], (32, 32))[0, 1, 2], images(1)[0].reshape(3, 32, 32)[:, 1, 2]
    )


def test_known_statistics():
    # The figures that the literature gives, of values in 0..1, with four digits.
    assert np.array(cifar.STATISTICS.mean) / 255 == pytest.approx([0.4914, 0.4822, 0.4465], abs=5e-5)
    assert np.array(cifar.STATISTICS.std) / 255 == pytest.approx([0.2470, 0.2435, 0.2616], abs=5e-5)


def test_missing_batch(tmp_path):
    files = binary()
    del files["cifar-10-batches-bin/data_batch_3.bin"]
    text = refusal(write_tar(tmp_path / "a.tar.gz", files))
    assert "holds no data_batch_3.bin, so it is not CIFAR-10" in text


def test_other_archive(tmp_path):
    text = refusal(write_tar(tmp_path / "a.tar.gz", {"readme": b"x"}))
    assert "holds no data_batch_1, so it is not CIFAR-10" in text


@pytest.mark.parametrize("data", [b"", bytes(3072)])
def test_incomplete_records(tmp_path, data):
    files = binary() | {"cifar-10-batches-bin/test_batch.bin": data}
    text = refusal(write_tar(tmp_path / "a.tar.gz", files))
    assert f"test_batch.bin: {len(data)} bytes are no whole number of images" in text


@pytest.mark.parametrize(
    "files",
    [
        binary() | {"cifar-10-batches-bin/test_batch.bin": bytes([10]) + bytes(3072)},
        old_python() | {"cifar-10-batches-py/test_batch": old_batch(5, labels=b"](K\1K\2K\3K\x0ae")},
    ],
    ids=["binary", "python"],
)
def test_label_out_of_range(tmp_path, files):
    text = refusal(write_tar(tmp_path / "a.tar.gz", files))
    assert "test_batch" in text
    assert "holds the label 10, outside 0..9" in text


@pytest.mark.parametrize(
    "data", [b"", b"hello", gzip.compress(b"hello", mtime=0), gzip.compress(bytes(2000), mtime=0)[:-8]]
)
def test_not_a_tar(tmp_path, data):
    (tmp_path / "a.tar.gz").write_bytes(data)
    text = refusal(str(tmp_path / "a.tar.gz"))
    assert "not a .tar.gz archive, or a damaged one" in text or "not CIFAR-10" in text


def test_truncated_tar(tmp_path):
    path = tmp_path / "a.tar.gz"
    write_tar(path, binary())
    path.write_bytes(path.read_bytes()[:-5000])
    assert "not a .tar.gz archive, or a damaged one" in refusal(str(path))


def test_tar_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(tarball, "MAX_TOTAL", 2**20)
    text = refusal(write_tar(tmp_path / "a.tar.gz", {"zeros": bytes(2**21), **binary()}))
    assert "would expand to more than 1 MiB" in text


def test_long_header_bomb(tmp_path, monkeypatch):
    """tarfile reads an extended header whole, whatever length it declares."""
    monkeypatch.setattr(tarball, "MAX_TOTAL", 2**20)
    info = tarfile.TarInfo("x")
    info.type = tarfile.XHDTYPE
    info.size = 2**33
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(2**22)))
    assert "would expand to more than 1 MiB" in refusal(str(tmp_path / "a.tar.gz"))


def test_member_too_large(tmp_path):
    info = tarfile.TarInfo("x/test_batch.bin")
    info.size = 2**27
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(info.tobuf()))
    assert "x/test_batch.bin is larger than 64 MiB" in refusal(str(tmp_path / "a.tar.gz"))


def test_links_are_not_followed(tmp_path):
    link = tarfile.TarInfo("x/test_batch.bin")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.addfile(link)
    assert "so it is not CIFAR-10" in refusal(str(tmp_path / "a.tar.gz"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


class Boom:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"cos\nsystem\n(S'false'\ntR.", "refused to load it: it names os.system"),
        (b"cbuiltins\neval\n(S'1'\ntR.", "refused to load it: it names builtins.eval"),
        (b"cnumpy\nload\n(S'x'\ntR.", "refused to load it: it names numpy.load"),
        (pickle.dumps({"data": Boom(), "labels": []}), "refused to load it: it names _pytest.outcomes."),
        (b"", "not a CIFAR-10 batch"),
        (b"\x80\2N.", "not a CIFAR-10 batch"),
        (b"\x8e" + struct.pack("<Q", 2**45) + b"x.", "not a CIFAR-10 batch"),
        (b"\x80\5\x96" + struct.pack("<Q", 2**45) + b"x.", "not a CIFAR-10 batch"),
        (b"Nr\xff\xff\xff\xff.", "not a CIFAR-10 batch"),
        (b"Np999999999999\n.", "not a CIFAR-10 batch"),
        (old_batch(0, data=old_array(images(0), b"O8")), "not a CIFAR-10 batch"),
        (old_batch(0, data=old_array(images(0)[:, :3000])), "not a CIFAR-10 batch"),
        (old_batch(0, data=old_array(images(0)[:2])), "not a CIFAR-10 batch"),
        (old_batch(0, labels=b"N"), "not a CIFAR-10 batch"),
        (old_batch(0, labels=b"](K\1K\2K\3Ne"), "not a CIFAR-10 batch"),
        (old_batch(0)[:-500], "not a CIFAR-10 batch"),
    ],
)
def test_hostile_or_damaged_pickles(tmp_path, data, message):
    files = old_python() | {"cifar-10-batches-py/data_batch_2": data}
    text = refusal(write_tar(tmp_path / "a.tar.gz", files))
    assert f"/data_batch_2: {message}" in text


@settings(max_examples=300)
@given(position=st.integers(0, 10**6), value=st.integers(0, 255))
def test_a_damaged_pickle_is_read_or_refused(position, value):
    data = bytearray(old_batch(0))
    frame = [k for k in range(len(data)) if k < 300 or k > len(data) - 100]
    data[frame[position % len(frame)]] = value
    try:
        rows, found = read_batch(bytes(data), "x")
    except DataError as error:
        message = str(error)
    else:
        message = "x: "
        assert rows.shape == (len(found), 3072)
    assert message.startswith("x: ")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves ``tmp_path/served`` in place of CIFAR-10's site; gives the requests it has seen."""
    folder = tmp_path / "served"
    folder.mkdir()
    seen: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, format, *args):  # noqa: A002 - the base class calls it so
            seen.append(format % args)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(cifar, "URL", f"http://127.0.0.1:{httpd.server_port}/cifar-10-binary.tar.gz")
        yield seen
        httpd.shutdown()
        thread.join()


def test_download_once(tmp_path, server, monkeypatch):
    path = tmp_path / "served/cifar-10-binary.tar.gz"
    write_tar(path, binary())
    monkeypatch.setattr(
        cifar, "CHECKSUM", "md5:" + hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    )
    for _ in range(2):
        data = cifar.open_cifar10(tmp_path / "cache")
        assert data.name == "cifar10"
        assert len(data.test) == COUNT
    assert len(server) == 1


def test_download_with_a_wrong_checksum(tmp_path, server):
    write_tar(tmp_path / "served/cifar-10-binary.tar.gz", binary())
    with pytest.raises(DataError, match=r"cannot be downloaded .*; download it elsewhere and give the path"):
        cifar.open_cifar10(tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_download_of_a_missing_file(tmp_path, server):
    with pytest.raises(DataError, match=r"cifar-10-binary.tar.gz: cannot be downloaded .*404"):
        cifar.open_cifar10(tmp_path / "cache")
