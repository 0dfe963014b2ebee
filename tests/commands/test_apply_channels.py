"""``onnxcomp apply channels`` as its user meets it, with good values and bad ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxcomp import model as models
from onnxcomp.macs import total
from tests import zoo
from tests.builder import Builder
from tests.commands.call import call
from tests.passes.channels.small import CLASSES, gemm

Refused = Callable[..., str]


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    onnx.save(zoo.resnet(size=8), path)
    return path


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path) -> Refused:
    """Runs ``apply channels`` with settings that must be refused; gives its one line. Nothing is written."""

    def run(*settings: str, model: Path = network, passes: str = "channels") -> str:
        before = set(tmp_path.rglob("*"))
        options = [word for setting in settings for word in ("--set", f"channels.{setting}")]
        code, out, err = call(capsys, "apply", passes, model, "-o", tmp_path / "c.onnx", *options)
        assert (code, out) == (2, ""), err
        assert set(tmp_path.rglob("*")) == before, "something was left behind"
        (line,) = err.splitlines()
        assert line.startswith("Error: ")
        return line.removeprefix("Error: ")

    return run


def test_channels_are_cut_and_the_notes_say_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path
) -> None:
    output = tmp_path / "c.onnx"
    arguments = ("--set", "channels.macs=0.6", "--set", "channels.align=4", "--json")
    code, out, err = call(capsys, "apply", "channels", network, "-o", output, *arguments)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["recipe"] == "channels{macs=0.6 align=4}"
    (step,) = found["steps"]
    before, after = models.load(network), models.load(output)
    assert f"multiply-accumulates {total(before.graph):,} -> {total(after.graph):,} (" in step["notes"][1]
    assert (total(after.graph) or 0) <= 0.6 * (total(before.graph) or 0)
    onnx.checker.check_model(onnx.load(output), full_check=True)


@pytest.mark.parametrize("criterion", ["taylor", "obd"])
def test_with_data_it_looks_at_gradients_and_reconstructs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path, criterion: str
) -> None:
    arguments = ("--data", "digits", "--threads", 1, "--calibration-images", 16)
    settings = ("--set", f"channels.criterion={criterion}", "--set", "channels.align=2")
    code, out, _ = call(
        capsys, "apply", "channels", network, "-o", tmp_path / "c.onnx", *arguments, *settings
    )
    assert code == 0
    assert "weights solved anew on real images" in out


def test_the_targets_alignment(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    wide, output = tmp_path / "wide.onnx", tmp_path / "c.onnx"
    onnx.save(zoo.resnet(size=8, widths=(48, 64)), wide)
    arguments = ("--target", "ort-cpu", "--set", "channels.sparsity=0.3")
    code, _, _ = call(capsys, "apply", "channels", wide, "-o", output, *arguments)
    assert code == 0
    found = models.load(output)
    assert found.given["alignment"] == 16
    widths = {int(c.values.shape[0]) for n, c in found.constants().items() if c.values.ndim == 4}
    assert all(width % 16 == 0 for width in widths)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (["macs=0"], "channels: macs is 0: Input should be greater than 0; set channels.macs anew"),
        (["macs=1.2"], "channels: macs is 1.2: Input should be less than 1; set channels.macs anew"),
        (["sparsity=0.5", "macs=0.5"], "channels: sparsity and macs are both given; give one of them"),
        (
            ["align=0"],
            "channels: align is 0: Input should be greater than or equal to 1; set channels.align anew",
        ),
        (["criterion=taylor"], "channels: criterion=taylor needs labelled images; give --data"),
        (["reconstruct=true"], "channels: reconstruct needs real images; give --data"),
        (
            ["exclude=head*"],
            "channels: exclude names head*, which is no weighted layer; see onnxcomp inspect",
        ),
        (["mac=0.5"], "channels: unknown option mac; did you mean macs?"),
        (
            ["macs=0.02"],
            "channels: macs=0.02 cannot be reached with widths that are multiples of 8; "
            "set channels.align lower or ask for less",
        ),
    ],
)
def test_bad_values(refused: Refused, settings: list[str], line: str) -> None:
    assert refused(*settings) == line


def test_a_network_of_one_layer(refused: Refused, tmp_path: Path) -> None:
    net = Builder(0)
    x = gemm(net, net.node("Flatten", ["input"], "flat"), "fc", 48, CLASSES)
    path = tmp_path / "one.onnx"
    onnx.save(net.model(x, 17, ("N", 3, 4, 4), CLASSES), path)
    assert refused(model=path) == (
        "channels: there is no channel that can go; loosen channels.exclude; "
        "kept are fc.weight (output is an output of the network)"
    )


def test_weights_that_are_not_numbers(refused: Refused, tmp_path: Path) -> None:
    proto = zoo.densenet()
    (weight,) = (t for t in proto.graph.initializer if t.name == "features.transition1.conv.weight")
    values = numpy_helper.to_array(weight).copy()
    values[0, 0] = np.nan
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    path = tmp_path / "nan.onnx"
    onnx.save(proto, path)
    assert refused(model=path) == (
        "channels: node /features/transition1/conv/Conv: features.transition1.conv.weight is not finite; "
        "train it again"
    )


def test_masks_with_a_pattern(refused: Refused) -> None:
    line = refused(passes="prune{pattern=2:4 keep_first=false keep_last=false},channels")
    assert line == "channels: would break the pattern 2:4 of the masks; apply channels before prune"
