from __future__ import annotations

import threading
import time
from collections.abc import Generator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxcomp.data.ordered import AHEAD, in_order


def data_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("onnxcomp-data")]


@settings(max_examples=40)
@given(st.integers(0, 30), st.integers(0, 6), st.randoms(use_true_random=False))
def test_results_come_in_order_whatever_the_threads(count, workers, random):
    delays = [random.random() / 2000 for _ in range(count)]

    def prepare(item: int) -> int:
        time.sleep(delays[item])
        return item * item

    assert list(in_order(prepare, range(count), workers)) == [item * item for item in range(count)]
    assert not data_threads()


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
def test_an_error_comes_where_its_result_would_have_come(workers):
    def prepare(item: int) -> int:
        return 10 // (7 - item)

    found = in_order(prepare, range(20), workers)
    assert [next(found) for _ in range(7)] == [10 // (7 - item) for item in range(7)]
    with pytest.raises(ZeroDivisionError):
        next(found)
    assert not data_threads()


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_a_slow_consumer_does_not_make_work_pile_up(workers):
    started: list[int] = []
    most = max(AHEAD, workers)
    found = in_order(started.append, range(1000), workers)
    for taken in range(1, 4):
        next(found)
        deadline = time.monotonic() + 0.05
        while time.monotonic() < deadline:
            assert len(started) <= taken + most
            time.sleep(0.005)
    deadline = time.monotonic() + 30
    while len(started) < 3 + most and time.monotonic() < deadline:
        time.sleep(0.005)
    assert len(started) == 3 + most  # nothing idles while there is room
    found.close()
    assert not data_threads()


def test_all_threads_work_at_the_same_time():
    together = threading.Barrier(3, timeout=30)
    assert list(in_order(lambda item: together.wait() >= 0, range(3), 3)) == [True] * 3


@pytest.mark.parametrize("workers", [1, 3])
def test_no_thread_outlives_its_consumer(workers):
    found = in_order(abs, range(100), workers)
    assert not data_threads()  # and none starts before it is used
    next(found)
    assert data_threads()
    assert isinstance(found, Generator)
    del found
    assert not data_threads()


def test_without_workers_the_caller_does_the_work_when_asked():
    threads: list[str] = []
    found = in_order(lambda item: threads.append(threading.current_thread().name), range(5), 0)
    next(found)
    assert threads == [threading.current_thread().name]
