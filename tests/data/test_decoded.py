from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from onnxcomp.data.decoded import Decoded


def test_each_image_is_read_once_by_one_thread():
    asked: list[int] = []

    def read(index: int) -> np.ndarray:
        asked.append(index)
        return np.full((2, 3, 3), index, np.uint8)

    store = Decoded(6, (2, 3), read)
    assert store.load(np.array([4, 1, 4]))[:, 0, 0, 0].tolist() == [4, 1, 4]
    assert store.load(np.array([1, 5]))[:, 1, 2, 2].tolist() == [1, 5]
    assert sorted(asked) == [1, 4, 5]


def test_threads_decode_at_the_same_time():
    together = threading.Barrier(2, timeout=30)

    def read(index: int) -> np.ndarray:
        together.wait()  # breaks after 30 s where one thread waits for the other to finish
        return np.full((1, 1, 3), index, np.uint8)

    store = Decoded(2, (1, 1), read)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda index: store.load(np.array([index]))[0, 0, 0, 0], range(2)))
    assert found == [0, 1]


def test_what_is_changed_is_a_copy_and_an_error_is_not_kept():
    broken = [True]

    def read(index: int) -> np.ndarray:
        if broken[0]:
            raise OSError("broken")
        return np.zeros((1, 1, 3), np.uint8)

    store = Decoded(1, (1, 1), read)
    with pytest.raises(OSError, match="broken"):
        store.load(np.array([0]))
    broken[0] = False
    store.load(np.array([0]))[:] = 9
    assert store.load(np.array([0])).max() == 0
