"""The examples that ``--help`` gives: each parses, and those that need no device, network or hour are run."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import click
import onnx
import pytest

from onnxcomp import cli, data, pipeline, recipe
from onnxcomp import model as models
from onnxcomp.data.npz import open_npz
from onnxcomp.deploy.finalize import finalize
from onnxcomp.deploy.targets import get_target
from onnxcomp.preprocess import ensure_preprocessing
from tests import pictures, zoo
from tests.commands.call import call
from tests.run import Observed

NOT_RUN = {
    "demo": "takes a minute and a half; .ci/run runs it",
    "--host": "needs a device",
    "--provider cuda": "needs a GPU",
    "--weights": "needs a file of weights",
    "profile": "needs engines",
    "view": "opens a browser",
    "report": "needs a run; its own tests have one",
}
"""What an example that is not run has in it, and why."""


def examples(name: str) -> list[str]:
    """The lines under ``Example:`` in the help of a command, as a user sees them."""
    context = click.Context(cli.cli, info_name="onnxcomp")
    command = cli.cli.get_command(context, name)
    assert command is not None
    lines = iter(command.get_help(click.Context(command, context, name)).splitlines())
    assert "  Example:" in lines, f"{name} --help has no example"
    found = []
    for line in lines:
        if not line.strip():
            break
        found.append(line.strip())
    return found


ALL = [(name, line) for name in cli.COMMANDS for line in examples(name)]
RUN = [line for _, line in ALL if not any(f" {part}" in line for part in NOT_RUN)]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_has_an_example_of_itself(name: str) -> None:
    lines = examples(name)
    assert lines
    assert [line for line in lines if not line.startswith(f"onnxcomp {name}")] == []


@pytest.mark.parametrize(("name", "line"), ALL, ids=[line for _, line in ALL])
def test_it_parses(name: str, line: str) -> None:
    command = cli.cli.get_command(click.Context(cli.cli), name)
    assert command is not None
    command.make_context(name, shlex.split(line)[2:])  # raises for an option or operand that does not fit


def test_nothing_is_left_out_for_a_reason_that_is_gone() -> None:
    assert "onnxcomp targets xavier" in RUN
    assert len(RUN) > len(ALL) // 2


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that examples name, as small as they can be."""
    folder = tmp_path_factory.mktemp("examples")
    images = open_npz(pictures.save_npz(folder / "cifar10.npz"))
    model = models.from_proto(zoo.densenet(16, layers=(1, 1), growth=4))
    ensure_preprocessing(model, images)
    calibration = Observed()
    compressed = pipeline.apply(model, recipe.parse("prune,qat,distill"), calibration=calibration)
    quantised = pipeline.apply(model, recipe.parse("qat"), calibration=calibration)
    for name in ("m", "small", "large", "other"):
        models.save(model, folder / f"{name}.onnx")
    for name in ("c", "t"):
        models.save(compressed, folder / f"{name}.onnx")
    models.save(finalize(quantised, get_target("xavier")), folder / "d.onnx")
    return folder


@pytest.mark.parametrize("line", RUN)
def test_it_runs(
    line: str,
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = Path(shutil.copytree(files, tmp_path / "folder"))
    monkeypatch.chdir(folder)
    monkeypatch.setitem(data.NAMED, "cifar10", lambda: open_npz(folder / "cifar10.npz"))
    words = shlex.split(line)[1:]
    if words[0] in ("train", "compress"):
        words += ["--batch-size", "8"]  # there are thirty images
    code, out, err = call(capsys, *words)
    # The verdicts of these two are about the random network: any but "bad usage" will do.
    assert code in ((0, 1) if words[0] in ("lint", "validate") else (0,)), err
    assert out
    for option in ("-o", "--output", "--fix", "--plot", "--deployable", "--junit"):
        if option in words:
            written = Path(words[words.index(option) + 1])
            assert written.stat().st_size > 0
            if written.suffix == ".onnx":
                onnx.checker.check_model(onnx.load(written))
