from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from onnxcomp.data import ImageSet
from onnxcomp.errors import OnnxcompError
from onnxcomp.sensitivity import cache as caches
from onnxcomp.sensitivity.cache import Cache, digest_of, key_of, model_digest
from tests.pictures import pictures
from tests.project import ROOT
from tests.sensitivity.naive import network

POINT = {"top1": 12.5, "loss": 1 / 3, "sqnr": None}
PLACE = ("w", 0.5)
KEY = "0123456789abcdef" * 4


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", KEY)


def test_a_point_comes_back_as_it_was(cache: Cache) -> None:
    assert cache.get(("layer/weight", 0.5)) is None
    cache.put(("layer/weight", 0.5), POINT)
    assert cache.get(("layer/weight", 0.5)) == POINT
    assert cache.get(("layer/weight", 0.7)) is None
    assert cache.get(("layer/weight", "alone")) is None
    assert cache.get(("layer", 0.5)) is None
    assert [path.suffix for path in cache.folder.iterdir()] == [".json"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: data.replace(b"12.5", b"99.5"),
        lambda data: data.replace(b"0.5", b"0.7", 1),
        lambda data: b"\xff" + data,
        lambda data: b"[" * 100_000,
        lambda data: b'{"point": 3}',
        lambda data: data.replace(b"12.5", b"NaN"),
    ],
)
def test_damage_is_noticed(cache: Cache, damage: object) -> None:
    cache.put(PLACE, POINT)
    (path,) = cache.folder.iterdir()
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(ValueError, match=path.name):
        cache.get(PLACE)
    cache.put(PLACE, POINT)
    assert cache.get(PLACE) == POINT


def test_an_entry_of_another_network_is_damage(cache: Cache, tmp_path: Path) -> None:
    """As a hand that copies files would make it; the folder's name holds half of the key."""
    cache.put(PLACE, POINT)
    with pytest.raises(ValueError, match="json"):
        Cache(cache.root, KEY[:32] + "0" * 32).get(PLACE)


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OnnxcompError, match="cannot be created"):
        Cache(tmp_path / "file", KEY).put(PLACE, POINT)


def test_the_key_says_what_was_measured() -> None:
    way = {"criterion": "magnitude"}
    keys = {
        key_of("a", "b", way),
        key_of("a", "c", way),
        key_of("b", "b", way),
        key_of("a", "b", {"criterion": "obd"}),
    }
    assert len(keys) == 4
    assert key_of("a", "b", dict(way)) in keys


def test_a_network_is_its_structure_weights_and_preprocessing() -> None:
    first, second = network("mlp"), network("mlp")
    second.classes = tuple("abcdefghij")
    second.properties = {"author": "me"}
    assert model_digest(first) == model_digest(second)
    assert second.classes
    second.constants()["b1"].values = second.constants()["b1"].values + np.float32(1e-6)
    assert model_digest(first) != model_digest(second)
    assert model_digest(network("mlp", seed=1)) != model_digest(first)
    third = network("mlp")
    third.preprocessing = None
    assert model_digest(third) != model_digest(first)


def test_images_are_their_pixels_labels_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(5)
    found = digest_of(images, (16, 16))
    assert digest_of(pictures(5), (16, 16)) == found
    pixels = images.load(np.arange(5), (16, 16))
    pixels[4, 15, 15, 2] ^= 1
    others = [
        digest_of(images, (8, 8)),
        digest_of(ImageSet.from_arrays(pixels, images.labels, images.classes), (16, 16)),
        digest_of(
            ImageSet.from_arrays(images.load(np.arange(5), (16, 16)), images.labels[::-1], images.classes),
            (16, 16),
        ),
    ]
    assert len({found, *others}) == 4
    monkeypatch.setattr(caches, "CHUNK", 2)
    assert digest_of(images, (16, 16)) == found


@pytest.mark.skipif(sys.platform != "linux", reason="where the cache lies differs")
def test_the_default_is_in_the_users_cache_folder(tmp_path: Path) -> None:
    code = "from onnxcomp.sensitivity.cache import default_root; print(default_root())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()) == tmp_path / "onnxcomp" / "sensitivity"
