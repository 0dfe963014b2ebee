from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from tests import zoo
from tests.commands.call import call


@pytest.mark.parametrize("name", zoo.ALL)
def test_every_network_has_its_layers_and_summary(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(zoo.ALL[name](), path)
    code, out, err = call(capsys, "inspect", path)
    assert (code, err) == (0, "")
    code, text, _ = call(capsys, "inspect", path, "--json")
    found = json.loads(text)
    for layer in found["layers"]:
        (line,) = (line for line in out.splitlines() if line.startswith(layer["name"] + " "))
        assert line.split()[1] == layer["op"]
        assert f"{layer['macs']:,}" in line
    assert f"MACs per image  {found['macs']:,}" in out
    assert f"parameters      {found['parameters']['total']:,}" in out


def test_a_file_that_is_not_onnx_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.onnx"
    path.write_text("not a network")
    code, out, err = call(capsys, "inspect", path)
    assert (code, out) == (2, "")
    assert err.startswith(f"Error: {path}: not an ONNX file")
    assert err.count("\n") == 1
