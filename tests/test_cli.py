"""The command line's manners: exit codes, one-line errors, Ctrl-C and broken pipes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

import onnxcomp
from onnxcomp import cli, road
from onnxcomp.errors import DataError, OnnxcompError
from onnxcomp.interrupts import Interrupted
from tests.project import ROOT

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line and gives exit code, stdout and stderr."""

    def call(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            cli.main(list(args))
        assert isinstance(stop.value.code, int)
        return stop.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Adds a command ``fake`` with the given body and an option ``--sparsity``."""

    def add(body: Callable[..., Any]) -> None:
        command = click.command("fake")(click.option("--sparsity", type=float)(body))
        monkeypatch.setitem(sys.modules, "onnxcomp.commands.fake", SimpleNamespace(command=command))
        monkeypatch.setattr(cli, "COMMANDS", (*cli.COMMANDS, "fake"))

    return add


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"onnxcomp, version {onnxcomp.__version__}\n", "")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("trian", "train"), ("evalute", "evaluate"), ("finalise", "finalize"), ("Export", "export")],
)
def test_unknown_command_gets_the_nearest_name(run: Run, typed: str, meant: str) -> None:
    line = f"Error: there is no command '{typed}'; did you mean {meant}? (see onnxcomp --help)\n"
    assert run(typed) == (2, "", line)


def test_unknown_command_that_is_near_none_gets_the_list(run: Run) -> None:
    code, out, err = run("xyzzy")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert all(name in err for name in cli.COMMANDS)


def test_unknown_option_gets_the_nearest_name(run: Run, fake: Any) -> None:
    fake(lambda sparsity: None)
    line = "Error: there is no option --sparsty; did you mean --sparsity? (see onnxcomp fake --help)\n"
    assert run("fake", "--sparsty", "0.5") == (2, "", line)
    line = "Error: there is no option --epochs (see onnxcomp fake --help)\n"
    assert run("fake", "--epochs", "0.5") == (2, "", line)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("export", "densnet201", "-o", "x"), "NAME: there is no 'densnet201'; did you mean densenet201?"),
        (
            ("export", "resnet18", "--stem", "x", "-o", "x"),
            "--stem: there is no 'x'; choose from imagenet, cifar",
        ),
        (("completion", "bsh"), "SHELL: there is no 'bsh'; did you mean bash?"),
        (("build", "--no-lnt"), "there is no option --no-lnt; did you mean --no-lint?"),
    ],
)
def test_unknown_value_gets_the_nearest(run: Run, words: tuple[str, ...], line: str) -> None:
    assert run(*words) == (2, "", f"Error: {line} (see onnxcomp {words[0]} --help)\n")


def test_bad_value_is_one_line(run: Run, fake: Any) -> None:
    fake(lambda sparsity: None)
    line = "Error: Invalid value for '--sparsity': 'much' is not a valid float (see onnxcomp fake --help)\n"
    assert run("fake", "--sparsity", "much") == (2, "", line)


def test_no_arguments_say_how_to_begin(run: Run) -> None:
    assert run() == (2, "", road.WELCOME)


def test_the_first_commands_that_are_shown_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line.split()[1:] for line in road.WELCOME.splitlines() if line.startswith("  onnxcomp ")]
    assert [words[0] for words in lines] == ["demo", "inspect", "export", "compress"]
    for name, *words in lines:
        command = cli.cli.get_command(click.Context(cli.cli), name)
        assert command is not None
        command.make_context(name, words)  # raises where an option or an operand does not fit


def test_help_has_the_commands_by_the_step_of_the_road(run: Run) -> None:
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    headings = [line for line in out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Options:", *(f"{heading}:" for heading in road.ROAD)]
    listed = [line.split()[0] for line in out.splitlines() if line.startswith("  ") and line[2].isalpha()]
    assert [name for name in listed if name in cli.COMMANDS] == list(cli.COMMANDS)
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("kind", [OnnxcompError, DataError])
def test_user_error_is_one_line_and_exit_code_2(run: Run, fake: Any, kind: type[OnnxcompError]) -> None:
    def body(sparsity: float) -> None:
        raise kind("cannot\nbe read", where="data.zip", fix="download it again")

    fake(body)
    assert run("fake") == (2, "", "Error: data.zip: cannot be read; download it again\n")


def test_a_name_that_no_file_can_have_is_one_line(run: Run, fake: Any) -> None:
    name = "x" * 300
    fake(lambda sparsity: Path(name).stat())
    assert run("fake") == (2, "", f"Error: {name}: is too long for a name; give a shorter one\n")


def test_a_fault_of_our_own_keeps_its_traceback(fake: Any) -> None:
    def body(sparsity: float) -> None:
        raise ZeroDivisionError

    fake(body)
    with pytest.raises(ZeroDivisionError):
        cli.main(["fake"])


@pytest.mark.parametrize(
    "end",
    [lambda: click.get_current_context().exit(1), lambda: sys.exit(1), lambda: 1],
    ids=["click", "sys", "return"],
)
def test_a_failed_check_is_exit_code_1(run: Run, fake: Any, end: Callable[[], Any]) -> None:
    fake(lambda sparsity: end())
    assert run("fake") == (1, "", "")


def test_success_is_exit_code_0(run: Run, fake: Any) -> None:
    fake(lambda sparsity: click.echo(sparsity))
    assert run("fake", "--sparsity", "0.5") == (0, "0.5\n", "")


# A command `fake` in a process of its own, for what concerns signals and pipes.
PROCESS = """
import signal, sys, time, types, click, rich
from onnxcomp import cli
def body():
    {body}
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.modules["onnxcomp.commands.fake"] = types.SimpleNamespace(command=click.command("fake")(body))
cli.COMMANDS += ("fake",)
cli.main(["fake"])
"""


def start(body: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", PROCESS.format(body=body)]
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_ctrl_c_is_one_line_and_exit_code_130() -> None:
    process = start("print('ready', flush=True); time.sleep(60)")
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.split() == ["Interrupted"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_was_saved_is_one_line_and_the_exit_code_says_which_signal(
    run: Run, fake: Any, number: int, code: int
) -> None:
    def body(sparsity: float) -> None:
        raise Interrupted(number, "interrupted; continue with: onnxcomp fake --resume")

    fake(body)
    assert run("fake") == (code, "", "Interrupted; continue with: onnxcomp fake --resume\n")


@pytest.mark.parametrize(
    "write",
    [
        "[click.echo('line' * 1000) for _ in range(100)]",
        "[rich.print('line' * 1000) for _ in range(100)]",
        "sys.stdout.write('less than a buffer')",
    ],
    ids=["click", "rich", "at exit"],
)
def test_a_reader_that_went_away_is_silence_and_exit_code_141(write: str) -> None:
    process = start(f"sys.stderr.write('ready'); sys.stderr.flush(); sys.stdin.read(); {write}")
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == "ready"
        assert process.wait(timeout=30) == 141
