"""build, profile and validate on a device: a real sshd, and there a stand-in for trtexec."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from onnxcomp.deploy.remote import ssh
from tests.commands.call import call
from tests.deploy.engines.networks import quantised
from tests.deploy.remote import sshd
from tests.deploy.remote.sshd import HOST, Sshd, needs_sshd
from tests.deploy.trtexec import installed

pytestmark = needs_sshd
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """A device with trtexec on its PATH; the working folder holds a network."""
    monkeypatch.setattr(ssh, "PAUSES", (0.1, 0.2, 0.4, 0.8))
    monkeypatch.chdir(tmp_path)
    quantised(tmp_path / "d.onnx")
    (tmp_path / "ssh").mkdir()
    with sshd.running(tmp_path / "ssh") as found:
        monkeypatch.setenv("ONNXCOMP_SSH", found.command)
        installed.install(found.bin, version="8.5.2")
        yield found


def build(capsys: Capture, *words: object) -> tuple[int, str, str]:
    return call(capsys, "build", "d.onnx", "-o", "d.plan", "--target", "xavier", "--host", HOST, *words)


def left(device: Sshd) -> list[str]:
    """What is in the folder of work there."""
    return [path.name for path in (device.home / ".cache/onnxcomp/work").iterdir()]


def test_from_the_network_to_the_profile(capsys: Capture, device: Sshd) -> None:
    code, out, err = build(capsys)
    assert code == 0, err
    assert "wrote d.plan: " in out
    record = json.loads(Path("d.plan.json").read_text())
    engines = device.home / ".cache/onnxcomp/engines"
    assert (engines / f"{record['key']}.plan").read_bytes() == Path("d.plan").read_bytes()
    code, out, err = call(capsys, "profile", "d.plan", "--host", HOST, "-o", "p.json")
    assert code == 0, err
    assert out.splitlines()[0] == f"d.plan, Xavier, TensorRT 8.5.2, {HOST}, batch 1"
    copied = [path.name for path in (device.home / ".cache/onnxcomp/models").iterdir()]
    assert [name.partition("-")[2] for name in copied] == ["model.onnx"]  # the engine was there already
    assert build(capsys)[2].startswith("built before: ")
    for path in engines.iterdir():  # as if it had been built elsewhere
        path.unlink()
    code, _, err = call(capsys, "profile", "d.plan", "--host", HOST)
    assert code == 0, err
    copied = [path.name for path in (device.home / ".cache/onnxcomp/models").iterdir()]
    assert sorted(name.partition("-")[2] for name in copied) == ["engine.plan", "model.onnx"]
    assert left(device) == []


def test_answers_are_compared(capsys: Capture, device: Sshd, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    np.savez("data.npz", x_train=images, y_train=np.arange(12) % 10, x_test=images, y_test=np.arange(12) % 10)
    words = ("validate", "d.onnx", "d.onnx", "--data", "data.npz", "--host", HOST, "--target", "xavier")
    # The stand-in's answers are not the network's, so agreement is what chance gives.
    code, out, err = call(capsys, *words, "--json", "--device-batch", 7, "--min-agreement", 100)
    assert code == 1
    found = json.loads(out)
    assert (found["device"]["images"], found["device"]["gpu"], found["device"]["tensorrt"]) == (
        12,
        "Xavier",
        "8.5.2",
    )
    assert "FAILED: on Xavier the top-1 class is the same as here on " in err
    assert not found["passed"]
    assert left(device) == []
    code, _, err = call(capsys, *words[:-2])
    assert code == 2
    assert "--target and --host (or --trtexec) go together" in err


FAULTS = {
    "gpu_memory": "the GPU's memory does not suffice",
    "disk_full": "the disk there is full",
    "killed": "trtexec was killed",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failure_there_is_one_line_and_leaves_nothing(fault: str, capsys: Capture, device: Sshd) -> None:
    installed.install(device.bin, fault=fault)
    code, out, err = build(capsys)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith(f"Error: {HOST}: ")
    assert FAULTS[fault] in err.splitlines()[-1]
    assert left(device) == []
    assert list((device.home / ".cache/onnxcomp/engines").iterdir()) == []
    assert not Path("d.plan").exists()


def test_no_trtexec_there(capsys: Capture, device: Sshd) -> None:
    (device.bin / "trtexec").unlink()
    code, _, err = build(capsys)
    assert code == 2
    line = f"Error: {HOST}: there is no trtexec and no /usr/src/tensorrt/bin/trtexec; install nvidia-jetpack"
    assert err.startswith(line)


def test_a_host_that_does_not_answer(capsys: Capture, device: Sshd) -> None:
    device.stop()
    code, _, err = build(capsys)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"Error: {HOST}: nothing listens to ssh there")


def test_a_connection_that_drops_during_a_build(capsys: Capture, device: Sshd) -> None:
    installed.install(device.bin, delay=0.05)
    stop = threading.Event()

    def cut() -> None:
        while not stop.wait(1.5):
            device.drop()

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        code, _, err = build(capsys)
    finally:
        stop.set()
        cutter.join()
    assert code == 0, err
    assert Path("d.plan").stat().st_size > 0
    assert (device.folder / "sshd.log").read_text().count("Accepted publickey") > 1


def test_ctrl_c_ends_the_build_there(device: Sshd) -> None:
    """In a process of its own, as from a shell."""
    installed.install(device.bin, fault="hang")
    words = ["build", "d.onnx", "-o", "d.plan", "--target", "xavier", "--host", HOST]
    process = subprocess.Popen(
        [sys.executable, "-m", "onnxcomp.cli", *words], stderr=subprocess.PIPE, text=True
    )

    def hanging() -> list[int]:
        trtexec = f"{device.bin}/trtexec".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if trtexec in path.read_bytes() and b"--onnx=" in path.read_bytes():
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found

    until = time.monotonic() + 30
    while not hanging() and time.monotonic() < until:
        time.sleep(0.1)
    assert hanging()
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    while hanging() and time.monotonic() < until:
        time.sleep(0.1)
    assert hanging() == []
    assert left(device) == []
    assert not Path("d.plan").exists()
