"""Tests of onnxcomp.training.lock."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

from onnxcomp.errors import TrainingError
from onnxcomp.training import lock
from tests.project import ROOT

OTHER = """
import sys, time
from pathlib import Path
from onnxcomp.training import lock
with lock.hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    command = [sys.executable, "-c", OTHER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_by_the_first_one_s_number(tmp_path, other):
    message = rf"{re.escape(str(tmp_path))}: is in use by process {other.pid} on .*; wait until it ends"
    with pytest.raises(TrainingError, match=message), lock.hold(tmp_path):
        pass


def test_a_kill_gives_the_lock_back(tmp_path, other):
    other.send_signal(signal.SIGKILL)
    other.wait()
    with lock.hold(tmp_path):
        assert (tmp_path / lock.NAME).read_text().startswith(f"{os.getpid()} on ")


def test_it_is_given_back_at_the_end_and_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), lock.hold(tmp_path):
            raise ZeroDivisionError
    with lock.hold(tmp_path), pytest.raises(TrainingError, match="is in use"), lock.hold(tmp_path):
        pass


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with (
        pytest.raises(TrainingError, match=r"none: cannot be locked \(No such file"),
        lock.hold(tmp_path / "none"),
    ):
        pass


def test_to_check_is_to_leave_nothing(tmp_path):
    lock.check(tmp_path / "none")
    lock.check(tmp_path)
    assert list(tmp_path.iterdir()) == []
    message = rf"is in use by process {os.getpid()} on"
    with lock.hold(tmp_path), pytest.raises(TrainingError, match=message):
        lock.check(tmp_path)
    lock.check(tmp_path)
