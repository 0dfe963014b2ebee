"""Tests of onnxcomp.commands.options: what ends a command early."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import click
import pytest

from onnxcomp import launcher
from onnxcomp.commands import options
from onnxcomp.errors import DataError, PassError
from onnxcomp.interrupts import Interrupted
from onnxcomp.launcher import Launch
from tests.training.fake import linear


@pytest.mark.parametrize(
    ("where", "expected"),
    [("main_graph", "a/m.onnx"), ("node gemm", "a/m.onnx: node gemm"), ("--lr", "--lr"), ("", "")],
)
def test_an_error_about_the_network_names_the_file(where: str, expected: str) -> None:
    model = linear()
    assert model.graph.name == "main_graph"

    def work() -> None:
        with options.about(Path("a/m.onnx")) as shown:
            assert shown(model) is model
            raise PassError("is wrong", where=where, fix="mend it")

    with pytest.raises(PassError) as caught:
        work()
    error = caught.value
    assert (error.what, error.where, error.fix) == ("is wrong", expected, "mend it")


def interrupted(words: list[str], body: object = None, *, resume: bool = False) -> Interrupted:
    with click.Context(click.Command("onnxcomp"), obj=words):
        with pytest.raises(Interrupted) as caught, options.resumable(resume=resume):
            os.kill(os.getpid(), signal.SIGTERM) if body is None else body()  # type: ignore[operator]
        return caught.value


def test_a_signal_gives_the_command_that_continues() -> None:
    found = interrupted(["compress", "prune,qat", "my net.onnx"])
    assert found.code == 143
    assert found.text == "interrupted; continue with: onnxcomp compress prune,qat 'my net.onnx' --resume"
    assert interrupted(["train", "--resume"], resume=True).text.endswith("with: onnxcomp train --resume")


def test_what_the_training_says_comes_first() -> None:
    def body() -> None:
        raise Interrupted(signal.SIGINT, "interrupted; a is kept at step 3 of 9")

    found = interrupted(["train"], body)
    assert found.code == 130
    assert found.text == "interrupted; a is kept at step 3 of 9; continue with: onnxcomp train --resume"


def test_under_mpirun_that_is_part_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "launch", lambda: Launch(0, 4, 4))
    assert interrupted(["train"]).text.endswith("with: mpirun -n 4 onnxcomp train --resume")


def test_other_errors_pass() -> None:
    with pytest.raises(DataError, match="broken"), options.resumable(resume=False):
        raise DataError("broken")
