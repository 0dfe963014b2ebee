"""Tests of onnxcomp.training.ranks: several local ranks under the mpirun of this environment."""

from __future__ import annotations

import sys
import time
import types

import numpy as np
import pytest

from onnxcomp.errors import MissingPackageError, TrainingError
from onnxcomp.launcher import Launch
from onnxcomp.training.ranks import Alone, open_ranks
from tests.mpi import mpirun, needs_mpi

HEAD = """
import numpy as np, sys, time
from onnxcomp.training import ranks as module
ranks = module.open_ranks()
def mine(): return arrays(np.random.default_rng(ranks.rank))
shapes = [(), (3,), (64, 3, 7, 7), (200, 100), (0,), (130, 130), (1000,)]
assert any(4 * np.prod(s) >= module.SMALL for s in shapes)
def arrays(rng, dtype=np.float32): return [np.asarray(rng.normal(size=s), dtype) for s in shapes]
everyone = [arrays(np.random.default_rng(r)) for r in range(ranks.size)]
"""

AVERAGE = """
live = mine()
views = [a for a in live]
double = np.full(5, ranks.rank, np.float64)
strided = np.arange(40000, dtype=np.float32).reshape(200, 200).T + ranks.rank
ranks.average(iter([*live, double, strided]))
for i, (view, shape) in enumerate(zip(views, shapes)):
    mean = np.mean([a[i].astype(np.float64) for a in everyone], axis=0)
    # float32 sums of at most 4 numbers of size 1: a few roundings of 6e-8
    np.testing.assert_allclose(view, mean, atol=1e-6, rtol=0)
assert double.tolist() == [(ranks.size - 1) / 2] * 5 and double.dtype == np.float64
np.testing.assert_allclose(strided, np.arange(40000.).reshape(200, 200).T + (ranks.size - 1) / 2, rtol=1e-6)
# The same bits on all ranks, and each time: else the replicas would drift apart.
again = mine()
ranks.average(again)
first = [a.copy() for a in live]
ranks.broadcast(first)
for a, b, c in zip(live, again, first):
    assert a.tobytes() == b.tobytes() == c.tobytes()
"""

BROADCAST = """
live = mine()
ranks.broadcast(live)
assert all(a.tobytes() == b.tobytes() for a, b in zip(live, everyone[0]))
"""

ANY = """
assert ranks.any(ranks.rank == ranks.size - 1) is True
assert ranks.any(True) is True
assert ranks.any(False) is False
"""

SHARE = """
record = {"step": 3, "name": "\\u00fc"}
assert ranks.share(record if ranks.rank == 0 else {1, 2}) == record
assert ranks.share(None) is None
assert ranks.share(float(ranks.rank) + 0.1) == 0.1
assert ranks.share("x" * 100000) == "x" * 100000
"""

# In one write: those of several ranks would mix.
END = "sys.stdout.write(f'done {ranks.rank} {ranks.size}\\n')"


@needs_mpi
@pytest.mark.parametrize("count", [2, 4])
def test_ranks_exchange(count: int) -> None:
    done = mpirun(count, "-c", HEAD + AVERAGE + BROADCAST + ANY + SHARE + END)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert sorted(done.stdout.splitlines()) == [f"done {rank} {count}" for rank in range(count)]


@needs_mpi
def test_abort_ends_those_that_wait() -> None:
    code = HEAD + "ranks.abort(2) if ranks.rank == 1 else ranks.any(False)"
    start = time.monotonic()
    assert mpirun(4, "-c", code).returncode == 2
    assert time.monotonic() - start < 60


@needs_mpi
def test_a_waiting_rank_sleeps() -> None:
    code = HEAD + (
        "time.sleep(1 if ranks.rank == 0 else 0)\n"
        "busy = time.process_time()\n"
        "ranks.any(False)\n"
        "assert time.process_time() - busy < 0.3, time.process_time() - busy"
    )
    done = mpirun(2, "-c", code)
    assert done.returncode == 0, done.stderr


def test_one_process_keeps_what_it_has() -> None:
    ranks = open_ranks(Launch())
    assert isinstance(ranks, Alone)
    values = np.array([1, 2], np.float32)
    ranks.average([values])
    ranks.broadcast([values])
    assert values.tolist() == [1, 2]
    assert (ranks.rank, ranks.size) == (0, 1)
    assert (ranks.any(True), ranks.any(False), ranks.share("a")) == (True, False, "a")
    with pytest.raises(SystemExit, match="3"):
        ranks.abort(3)


def test_one_process_does_without_mpi4py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert open_ranks(Launch()).size == 1


def test_several_processes_without_mpi4py_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'onnxcomp\[mpi\]'"):
        open_ranks(Launch(0, 2, 2))


def test_a_missing_mpi_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def optional(module: str, extra: str) -> object:
        if module == "mpi4py.MPI":
            raise RuntimeError("cannot load MPI library\nlibmpi.so: cannot open")
        return object()

    monkeypatch.setattr("onnxcomp.extras.optional", optional)
    with pytest.raises(MissingPackageError, match=r"cannot load MPI library\); install one"):
        open_ranks(Launch(0, 2, 2))


def test_the_launcher_of_another_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    world = types.SimpleNamespace(Get_rank=lambda: 0, Get_size=lambda: 1)
    mpi = types.SimpleNamespace(COMM_WORLD=world, get_vendor=lambda: ("Open MPI", (5, 0, 8)))
    monkeypatch.setattr("onnxcomp.extras.optional", lambda module, extra: mpi)
    with pytest.raises(TrainingError, match=r"started 2 processes.*\(Open MPI 5\.0\.8\) sees 1; start them"):
        open_ranks(Launch(1, 2, 2))
