from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from onnxcomp import extras
from onnxcomp.deploy.lint import session
from onnxcomp.deploy.targets import get_target
from onnxcomp.errors import MissingPackageError
from tests.deploy.lint.networks import Net, good

VERSION = extras.onnxruntime().__version__


def test_a_good_network_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found, line = session.run(good().save(tmp_path), get_target("xavier"))
    assert (found, line) == ([], f"ONNX Runtime {VERSION} runs it")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("target", "severity"), [("xavier", "warning"), ("ort-cpu", "error")])
def test_a_node_that_fails_is_named(
    target: str, severity: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    net = good()
    net.insert("Gelu", "gelu", "relu1")  # of opset 20
    found, line = session.run(net.save(tmp_path), get_target(target))
    assert line == f"ONNX Runtime {VERSION} does not run it"
    assert {(one.rule, one.severity) for one in found} == {("onnxruntime", severity)}
    assert "gelu" in {one.node for one in found}
    assert all("\n" not in one.what for one in found)
    assert capfd.readouterr().out == ""


def test_a_shape_that_does_not_fit_is_found(tmp_path: Path) -> None:
    """Which ONNX Runtime 1.19 aborts on, while it optimises; newer ones name the node."""
    net = good()
    net.constant("shape", [3, 1000], int)
    net.insert("Reshape", "shaped", "relu1", ["shape"])
    found, line = session.run(net.save(tmp_path), get_target("ort-cpu"))
    assert line == f"ONNX Runtime {VERSION} does not run it"
    assert {(one.node, one.what) for one in found} == {
        ("", "ONNX Runtime ends with SIGABRT")
    } or "shaped" in {one.node for one in found}


def test_what_reaches_no_output_is_a_warning_everywhere(tmp_path: Path) -> None:
    net = good()
    net.node("Exp", "useless", ["x"])
    for target in ("xavier", "ort-cpu"):
        found, line = session.run(net.save(tmp_path), get_target(target))
        assert [(one.node, one.severity) for one in found] == [("useless", "warning")]
        assert line.endswith(" runs it")


def test_names_that_polygraphy_gave_are_not_shown(tmp_path: Path) -> None:
    net = Net()
    net.output = net.node("Relu", "relu", ["x"])
    net.node("Exp", "exp", ["x"])
    net.nodes["exp"].name = ""
    found, _ = session.run(net.save(tmp_path), get_target("xavier"))
    assert [one.node for one in found] == [""]


def test_without_onnx_runtime_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise MissingPackageError("ONNX Runtime is not installed", where="onnxruntime")

    monkeypatch.setattr(extras, "onnxruntime", absent)
    assert session.run(tmp_path / "none.onnx", get_target("xavier")) == (
        [],
        "not run in ONNX Runtime: ONNX Runtime is not installed",
    )


def test_an_abort_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ONNX Runtime 1.19 ends on some files that its optimiser cannot fold."""
    monkeypatch.setattr(session, "__name__", "onnxcomp.does_not_exist")
    (found,), line = session.run(good().save(tmp_path), get_target("ort-cpu"))
    assert (found.severity, found.node) == ("error", "")
    assert found.what.startswith("Polygraphy ends with ")
    assert "onnxcomp.does_not_exist" in found.what
    assert line.endswith(" does not run it")


@pytest.mark.parametrize(
    ("code", "stderr", "what"),
    [
        (-6, "", "ONNX Runtime ends with SIGABRT"),
        (1, "Traceback\n\nKeyError: 'odd'\n", "Polygraphy ends with KeyError: 'odd'"),
        (3, "", "Polygraphy ends with 3"),
    ],
)
def test_why_there_is_no_report(code: int, stderr: str, what: str) -> None:
    assert session._end(subprocess.CompletedProcess([], code, "", stderr)) == what


@pytest.mark.parametrize("name", ["polygraphy", "decimal"])
def test_files_of_the_user_s_folder_are_no_modules(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{name}.py").write_text("raise SystemExit('ran')")
    path = good().save(tmp_path)
    monkeypatch.chdir(tmp_path)
    findings, line = session.run(Path(path.name), get_target("xavier"))
    assert findings == []
    assert line.endswith(" runs it")
