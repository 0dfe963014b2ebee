"""Work done ahead by threads, its results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

AHEAD = 4
Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    prepare: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[Result, None, None]:
    """``prepare`` of each item, in order, whatever the number of threads.

    At most ``AHEAD`` results, or as many as there are threads, are prepared or wait beyond the one that
    is asked for: a slow consumer does not make memory grow. What ``prepare`` raises comes where its
    result would have come. No thread outlives the generator.

    Args:
        workers: threads; with 0 the caller's thread does the work when asked.
    """
    if not workers:
        yield from map(prepare, items)
        return
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers, "onnxcomp-data")
    try:
        for item in items:
            waiting.append(pool.submit(prepare, item))
            if len(waiting) > max(AHEAD, workers):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)  # waits for what is in the making
