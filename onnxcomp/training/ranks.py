"""Synchronous data-parallel training: what the processes of one run tell each other, over MPI.

Every rank holds the whole network and sees its share of each batch; gradients are averaged, so all make
the same step. The MPI standard requires identical results on all ranks (chapter Collective
Communication, All-Reduce).
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxcomp import extras, launcher
from onnxcomp.errors import MissingPackageError, TrainingError
from onnxcomp.launcher import Launch

Array = NDArray[np.floating[Any]]

SMALL = 64 * 1024
"""Bytes below which arrays travel together: 604 gradients of DenseNet201 take half the time of one call each
with four ranks on two cores; copying larger ones costs more than their calls."""
_SPIN, _PAUSE = 2e-3, 5e-4


class Ranks(Protocol):
    """The processes of one run. All call the same methods, in the same order."""

    @property
    def rank(self) -> int:
        """This process, 0 to ``size`` - 1; rank 0 evaluates and writes files."""

    @property
    def size(self) -> int:
        """Number of processes."""

    def average(self, arrays: Iterable[Array]) -> None:
        """Replace each array, in place, by its mean over the ranks: the sum, then divided.

        Args:
            arrays: float32 or float64, of the same shapes, types and order on every rank.
        """

    def broadcast(self, arrays: Iterable[Array]) -> None:
        """Replace the elements of each array by rank 0's; shapes, types and order as its."""

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` holds on at least one rank."""

    def share(self, value: Any) -> Any:
        """Rank 0's ``value``, small and representable as JSON; the others' is not looked at."""

    def abort(self, code: int) -> NoReturn:
        """End all ranks, also those that wait for this one, with exit code ``code``."""


class Alone:
    """One process: nothing to exchange."""

    rank = 0
    size = 1

    def average(self, arrays: Iterable[Array]) -> None:
        pass

    def broadcast(self, arrays: Iterable[Array]) -> None:
        pass

    def any(self, flag: bool) -> bool:
        return flag

    def share(self, value: Any) -> Any:
        return value

    def abort(self, code: int) -> NoReturn:
        sys.exit(code)


class MpiRanks:
    """The ranks of ``MPI.COMM_WORLD``.

    Args:
        mpi: the module ``mpi4py.MPI``.
    """

    def __init__(self, mpi: Any) -> None:
        self._mpi = mpi
        self._world = mpi.COMM_WORLD
        self.rank: int = self._world.Get_rank()
        self.size: int = self._world.Get_size()

    @property
    def library(self) -> str:
        """Name and version of the MPI library."""
        name, numbers = self._mpi.get_vendor()
        return f"{name} {'.'.join(map(str, numbers))}"

    def average(self, arrays: Iterable[Array]) -> None:
        self._together(arrays, self._mean)

    def broadcast(self, arrays: Iterable[Array]) -> None:
        self._together(arrays, self._from_first)

    def any(self, flag: bool) -> bool:
        count = np.array([flag], np.int64)
        self._wait()
        self._world.Allreduce(self._mpi.IN_PLACE, count)
        return bool(count[0])

    def share(self, value: Any) -> Any:
        text = json.dumps(value).encode() if self.rank == 0 else b""
        length = np.array([len(text)], np.int64)
        self._wait()
        self._world.Bcast(length)
        content = np.frombuffer(text, np.uint8).copy() if text else np.empty(length[0], np.uint8)
        self._world.Bcast(content)
        return json.loads(content.tobytes())

    def abort(self, code: int) -> NoReturn:
        launcher.end_all(code)
        sys.exit(code)

    def _mean(self, array: Array) -> None:
        self._world.Allreduce(self._mpi.IN_PLACE, array)
        array /= self.size

    def _from_first(self, array: Array) -> None:
        self._world.Bcast(array)

    def _together(self, arrays: Iterable[Array], exchange: Callable[[Array], None]) -> None:
        """``exchange`` on large arrays where they are, on small ones in one flat copy for each type."""
        small: dict[str, list[Array]] = defaultdict(list)
        self._wait()
        for array in arrays:
            if array.nbytes >= SMALL and array.flags.c_contiguous:
                exchange(array)
            else:
                small[array.dtype.str].append(array)
        for group in small.values():
            flat = np.concatenate([array.ravel() for array in group])
            exchange(flat)
            ends = np.cumsum([array.size for array in group])
            for array, values in zip(group, np.split(flat, ends[:-1]), strict=True):
                array[...] = values.reshape(array.shape)

    def _wait(self) -> None:
        """Sleep until every rank is here: in a blocking call, MPI waits with a busy core.

        Ranks wait while rank 0 evaluates, and there may be more of them than cores.
        """
        arrived = self._world.Ibarrier()
        patient = time.perf_counter() + _SPIN
        while not arrived.Test():
            time.sleep(0 if time.perf_counter() < patient else _PAUSE)


def open_ranks(launch: Launch | None = None) -> Ranks:
    """The ranks of this run, as the launcher's environment tells; mpi4py is imported for several only.

    Raises:
        MissingPackageError: a launcher started several processes, and mpi4py or an MPI library is not
            installed.
        TrainingError: mpi4py's MPI library is not the launcher's.
    """
    launch = launch or launcher.launch()
    if launch.size == 1:
        return Alone()
    ranks = MpiRanks(_mpi())
    if (ranks.rank, ranks.size) != (launch.rank, launch.size):
        raise TrainingError(
            f"started {launch.size} processes, but mpi4py's MPI library ({ranks.library}) sees {ranks.size}",
            where="the MPI launcher",
            fix="start them with the mpirun of that library",
        )
    return ranks


def _mpi() -> Any:
    """The module ``mpi4py.MPI``, with MPI initialised."""
    extras.optional("mpi4py", "mpi")
    try:
        with warnings.catch_warnings():
            # mpi4py warns of a launcher that is not its library's; open_ranks makes that an error.
            warnings.simplefilter("ignore", RuntimeWarning)
            return extras.optional("mpi4py.MPI", "mpi")
    except (ImportError, RuntimeError) as error:
        raise MissingPackageError(
            f"cannot be loaded by mpi4py ({str(error).splitlines()[0]})",
            where="the MPI library",
            fix="install one (pip install mpich) or load the cluster's",
        ) from error
