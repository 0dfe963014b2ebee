"""Tests of onnxcomp.launcher."""

from __future__ import annotations

import pytest

from onnxcomp import launcher
from onnxcomp.launcher import Launch, launch

OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
HYDRA = {"PMI_RANK": "0", "PMI_SIZE": "2", "MPI_LOCALNRANKS": "2"}
SLURM = {"SLURM_STEP_NUM_TASKS": "7", "SLURM_STEP_TASKS_PER_NODE": "2(x2),3"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Launch(0, 1, 1)),
        (OPEN_MPI, Launch(3, 4, 2)),
        (HYDRA, Launch(0, 2, 2)),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, Launch(1, 2, 2)),
        ({"PMIX_RANK": "6", **SLURM}, Launch(6, 7, 3)),
        ({"PMI_RANK": "6", "PMI_SIZE": "7", **SLURM}, Launch(6, 7, 3)),
    ],
    ids=["none", "openmpi", "hydra", "hydra without local", "srun pmix", "srun pmi2"],
)
def test_the_environment_tells_rank_and_size(environment: dict[str, str], expected: Launch) -> None:
    assert launch(environment) == expected


@pytest.mark.parametrize(
    "environment",
    [
        SLURM,  # a plain srun or an allocation: as many runs of their own
        {"SLURM_PROCID": "1", **SLURM},
        {"PMI_RANK": "1"},
        {"PMI_RANK": "2", "PMI_SIZE": "2"},
        {"PMI_RANK": "one", "PMI_SIZE": "2"},
    ],
)
def test_what_is_no_mpi_launch_is_one_process(environment: dict[str, str]) -> None:
    assert launch(environment) == Launch()


@pytest.mark.parametrize(("rank", "waits"), [("0", False), ("1", True)])
def test_rank_0_speaks_first(monkeypatch: pytest.MonkeyPatch, rank: str, waits: bool) -> None:
    for name, value in {**OPEN_MPI, "OMPI_COMM_WORLD_RANK": rank}.items():
        monkeypatch.setenv(name, value)
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    launcher.wait_turn()
    assert bool(slept) == waits
    assert all(launcher._DELIVERY < seconds < 5 for seconds in slept)


def test_one_process_is_not_ended() -> None:
    launcher.end_all(2)
