"""``validate`` with an engine: what does not fit is said before anything is computed or written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.commands.call import call
from tests.deploy.engines.networks import quantised
from tests.deploy.trtexec import installed


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    quantised(tmp_path / "d.onnx")
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(12) % 10
    np.savez("data.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    installed.install(tmp_path, version="8.5.2")
    return tmp_path


REFUSED = {
    "no such target": (("--target", "xaviar"), "--target: there is no target xaviar; did you mean xavier?"),
    "no TensorRT": (("--target", "ort-cpu"), "--target: ort-cpu has no TensorRT; onnxcomp targets lists"),
    "too old": (("--target", "orin"), "this machine: has TensorRT 8.5.2, and orin is for 10.3 or later"),
    "lint": (("--target", "xavier-dla"), "see onnxcomp lint --target xavier-dla"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_said_first(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    words, line = REFUSED[name]
    monkeypatch.setattr("onnxcomp.parity.validation.validate", pytest.fail)
    saved = ("--save-inputs", "in.json", "--save-outputs", "out.json", "--junit", "j.xml")
    files = ("d.onnx", "d.onnx", "--data", "data.npz", "--trtexec", "./trtexec", "--preprocess", "cifar10")
    code, out, err = call(capsys, "validate", *files, *words, *saved)
    assert (code, out) == (2, "")
    assert line in err
    assert err.count("\n") == 1
    assert not {"in.json", "out.json", "j.xml"} & {path.name for path in folder.iterdir()}
