"""``onnxcomp report`` at the command line."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.commands.call import call


def test_a_page_and_markdown(
    capsys: pytest.CaptureFixture[str],
    made: Path,
    tmp_path: Path,
) -> None:
    page, text = tmp_path / "r.html", tmp_path / "r.md"
    code, out, err = call(
        capsys, "report", made, "-o", page, "--markdown", text, "--target", "orin", "--data", "digits"
    )
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"wrote {page}, {page.stat().st_size:,} bytes",
        f"wrote {text}, {text.stat().st_size:,} bytes",
    ]
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert text.read_text(encoding="utf-8").startswith("## Compression report")
    assert page.stat().st_size < 5_000_000
    before = page.read_bytes()
    assert call(capsys, "report", made, "-o", page, "--target", "orin", "--data", "digits")[0] == 0
    assert page.read_bytes() == before


def test_what_is_missing_stands_on_stderr_and_in_the_file(
    capsys: pytest.CaptureFixture[str],
    made: Path,
    tmp_path: Path,
) -> None:
    run = Path(shutil.copytree(made, tmp_path / "run"))
    (run / "results.json").unlink()
    output = tmp_path / "r.md"
    code, _, err = call(capsys, "report", run, "-o", output)
    assert code == 0
    assert err == f"{run}: there is no results.json: accuracy and latency were not measured yet\n"
    assert "there is no results.json" in output.read_text()


def test_bad_input_is_one_line_and_writes_nothing(
    capsys: pytest.CaptureFixture[str],
    made: Path,
    tmp_path: Path,
) -> None:
    output = tmp_path / "r.html"
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, message in (
        ([tmp_path / "gone"], "there is no such folder"),
        ([empty], "holds no run"),
        ([made / "dense.onnx"], "is not a folder"),
        ([made, "--target", "xaver"], "did you mean xavier?"),
        ([made, "--target", "ort-cpu"], "nothing is known of how fast CPU is"),
        ([made, "--sensitivity", made / "results.json"], "holds no sensitivity"),
        ([made, "--profile", made / "results.json"], "holds no profile"),
        ([made, "--data", "digitz"], "digits"),
        ([made, "--markdown", tmp_path / "no" / "r.md"], "there is no such folder"),
    ):
        code, out, err = call(capsys, "report", *arguments, "-o", output)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert message in err
        assert not output.exists()


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_without_a_package_markdown_still_works(
    capsys: pytest.CaptureFixture[str],
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    code, out, err = call(capsys, "report", made, "-o", tmp_path / "r.html")
    assert (code, out) == (2, "")
    assert f"{package} is not installed; run: pip install 'onnxcomp[report]'" in err
    assert call(capsys, "report", made, "-o", tmp_path / "r.md")[0] == 0
