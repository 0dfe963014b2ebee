from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxcomp.deploy.board import Board
from onnxcomp.deploy.engines import by_trtexec
from onnxcomp.deploy.engines.by_trtexec import ByTrtexec, device_name
from onnxcomp.deploy.engines.runtime import FailedError, Running
from onnxcomp.deploy.engines.wish import Wish
from onnxcomp.deploy.machine import DeviceError, LocalMachine
from onnxcomp.deploy.trtexec.failures import Kind
from onnxcomp.deploy.trtexec.log import Stage
from onnxcomp.deploy.trtexec.version import Version
from tests.deploy.engines.networks import Bench

VERSIONS = ("8.5.2", "8.6.1", "10.3.0", "11.1.0")


@pytest.mark.parametrize(
    ("board", "name"), [(Board(name="Jetson-AGX"), "Jetson-AGX"), (Board(), "unknown GPU")]
)
def test_what_the_device_is_called(board: Board, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_trtexec, "read_board", lambda machine: board)
    assert device_name(LocalMachine()) == name


def test_found_on_the_path(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{bench.folder}:/usr/bin:/bin")
    found = ByTrtexec.find(LocalMachine())
    assert (found.path, found.version) == ("trtexec", Version(8, 5, 2))


def test_a_relative_path_is_right_in_any_folder(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bench.folder)
    assert ByTrtexec.find(LocalMachine(), "./trtexec").path == str(bench.folder / "trtexec")


def test_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(
        DeviceError, match=r"^this machine: there is no trtexec and no /usr/src/tensorrt/bin/trtexec; "
    ):
        ByTrtexec.find(LocalMachine())


@pytest.mark.parametrize("version", VERSIONS)
def test_measures_with_every_version(version: str, bench: Bench, network: Path) -> None:
    bench.settings(version=version)
    request = bench.request(network)
    request.made()
    stages: list[str] = []
    found = bench.runtime().measure(
        request.engine, Running({"input": (1, 3, 8, 8)}), bench.folder, stages.append
    )
    assert found.log.stage is Stage.ENDED
    assert found.log.passed
    assert found.log.summary is not None
    assert found.log.summary.throughput is not None
    assert [path.name for path in (found.profile, found.layers, found.times)] == [
        *("profile.json", "layers.json", "times.json"),
    ]
    assert all(path.stat().st_size > 0 for path in (found.profile, found.layers, found.times))


@pytest.mark.parametrize("version", VERSIONS)
def test_infers_with_every_version(version: str, bench: Bench, network: Path) -> None:
    bench.settings(version=version)
    request = bench.request(network, Wish(batch=2))
    request.made()
    images = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    outputs = bench.runtime().infer(request.engine, {"input": images}, Running({"input": (2, 3, 8, 8)}))
    assert {name: array.shape for name, array in outputs.items()} == {"output": (2, 10)}


def test_a_file_that_is_no_engine(bench: Bench) -> None:
    path = bench.folder / "text.plan"
    path.write_text("hello")
    with pytest.raises(FailedError) as failed:
        bench.runtime().measure(str(path), Running({}), bench.folder, bench.log.append)
    assert failed.value.failure.kind is Kind.BAD_ENGINE
    assert failed.value.lines == bench.log


def test_an_engine_of_another_version(bench: Bench, network: Path) -> None:
    request = bench.request(network)
    request.made()
    bench.settings(version="10.3.0")
    with pytest.raises(FailedError) as failed:
        bench.runtime().measure(request.engine, Running({}), bench.folder, bench.log.append)
    assert failed.value.failure.kind is Kind.OTHER_VERSION
