from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from onnxcomp import cli, data, passes
from onnxcomp.completion import values
from onnxcomp.deploy.targets import TARGETS
from onnxcomp.models import NAMES


def offered(*words: str) -> list[str]:
    """What click offers for the last word."""
    *args, incomplete = words
    shell = ShellComplete(cli.cli, {}, "onnxcomp", "_ONNXCOMP_COMPLETE")
    return [str(item.value) for item in shell.get_completions(args, incomplete)]


def kinds(*words: str) -> set[str]:
    *args, incomplete = words
    shell = ShellComplete(cli.cli, {}, "onnxcomp", "_ONNXCOMP_COMPLETE")
    return {item.type for item in shell.get_completions(args, incomplete)}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("images.zip", "mine.yaml", "m.onnx", "old.tar.gz", "notes.txt", ".hidden.zip"):
        (tmp_path / name).touch()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "more.npz").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands() -> None:
    assert offered("") == list(cli.COMMANDS)
    assert offered("ev") == ["evaluate"]
    assert offered("no-such-command", "") == list(cli.COMMANDS)


def test_options() -> None:
    assert "--max-drop" in offered("validate", "--m")
    assert offered("train", "--epo") == ["--epochs"]


def test_targets() -> None:
    assert offered("lint", "--target", "") == [*TARGETS, "mine.yaml", "pictures/"]
    assert offered("lint", "--target", "xavier-d") == ["xavier-dla"]
    assert offered("targets", "h") == [name for name in TARGETS if name.startswith("h")]


def test_data_sets() -> None:
    assert offered("evaluate", "--data", "") == [
        *data.NAMED,
        "images.zip",
        "old.tar.gz",
        "pictures/",
    ]
    assert offered("evaluate", "--data", "pictures/") == ["pictures/more.npz"]
    assert offered("evaluate", "--data", "absent/") == []
    assert set(values.DATA_FILES) == set(data.FILES)


def test_networks_to_export() -> None:
    assert offered("export", "") == list(NAMES)


def test_passes() -> None:
    assert offered("apply", "") == list(passes.available())
    assert offered("compress", "prune,q") == ["prune,qat"]
    assert offered("apply", "prune,") == ["prune,channels", "prune,qat", "prune,distill"]
    assert offered("apply", "prune{sparsity=0.9},d") == ["prune{sparsity=0.9},distill"]


def test_options_of_a_pass_inside_braces() -> None:
    assert offered("apply", "prune,qat{cal") == ["prune,qat{calibration="]
    assert offered("apply", "prune{crit") == ["prune{criterion="]
    assert offered("apply", "prune{criterion=ob") == ["prune{criterion=obd", "prune{criterion=obs"]
    assert offered("apply", "prune{sparsity=0.9 fre") == ["prune{sparsity=0.9 frequency="]
    assert offered("apply", "nonsense{fre") == []


def test_after_the_passes_comes_a_file() -> None:
    assert kinds("apply", "prune", "m.o") == {"file"}
    assert kinds("apply", "--recipe", "mine.yaml", "") == {"file"}
    assert kinds("inspect", "") == {"file"}


def test_settings() -> None:
    assert offered("apply", "--set", "") == [f"{name}." for name in passes.available()]
    assert offered("apply", "prune", "--set", "prune.spars") == ["prune.sparsity="]
    assert offered("apply", "prune", "--set", "prune.criterion=t") == ["prune.criterion=taylor"]
    assert offered("apply", "prune", "--set", "nonsense.") == []


def test_what_goes_on_is_marked() -> None:
    assert kinds("apply", "prune", "--set", "prune.spars") == {values.PART}
    assert kinds("apply", "prune", "--set", "prune.criterion=t") == {"plain"}
    assert kinds("evaluate", "--data", "pic") == {values.PART}


def test_an_unknown_command_is_still_an_error() -> None:
    with pytest.raises(click.UsageError, match="did you mean"):
        cli.cli.main(["evalute"], standalone_mode=False)
