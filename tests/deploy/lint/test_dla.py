from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxcomp.deploy.dla import calibration_text
from onnxcomp.deploy.lint import lint
from onnxcomp.deploy.lint.dla import RULES
from onnxcomp.deploy.targets import get_target
from tests.deploy.lint.networks import CHANNELS, SIZE, Net, findings, good, nodes, plain

TENSORS = ("x", "conv1", "relu1", "conv2", "add", "relu2", "conv3", "relu3", "concat", "conv4", "relu4")
BEHIND = ("max", "average", "flat", "gemm")


def calibrate(folder: Path, **changes: float | None) -> None:
    """A cache in which all tensors have the scale 0.1, but for ``changes``."""
    scales = {**dict.fromkeys((*TENSORS, *BEHIND), 0.1), **changes}
    known = {name: scale for name, scale in scales.items() if scale is not None}
    (folder / "net.calib").write_text(calibration_text(known, (8, 5, 2)))


def free_height(net: Net) -> None:
    net.inputs = [("x", (1, CHANNELS, "H", 8))]


def many_images(net: Net) -> None:
    net.inputs = [("x", (4097, CHANNELS, 8, 8))]


def wide(net: Net) -> None:
    net.inputs = [("x", (1, CHANNELS, 8, 8193))]


def many_pieces(net: Net) -> None:
    """Each Erf cuts the network."""
    for index in range(16):
        net.insert("Erf", f"erf{index}", "relu1")
        net.insert("Relu", f"piece{index}", "relu1")


CASES: list[tuple[str, Callable[[Net], None], list[str]]] = [
    ("dla-shape", free_height, [""]),
    ("dla-shape", many_images, [""]),
    ("dla-shape", wide, [""]),
    ("dla-loadables", many_pieces, [""]),
]


def test_15_cuts_are_16_pieces(tmp_path: Path) -> None:
    net = plain()
    many_pieces(net)
    del net.nodes["erf15"]
    net.rewire("erf15", "relu1")
    calibrate(tmp_path)
    assert nodes(findings(net, "xavier-dla", tmp_path), "dla-loadables") == []


@pytest.mark.parametrize(("rule", "break_it", "names"), CASES)
def test_a_broken_network_is_caught_with_its_node(
    rule: str, break_it: Callable[[Net], None], names: list[str], tmp_path: Path
) -> None:
    net = plain()
    break_it(net)
    calibrate(tmp_path)
    found = findings(net, "xavier-dla", tmp_path)
    assert nodes(found, rule) == names
    assert "error" not in {one.severity for one in found}


@pytest.mark.parametrize("target", ["xavier-dla", "orin-dla"])
def test_a_good_network_is_not(target: str, tmp_path: Path) -> None:
    calibrate(tmp_path)
    report = lint(plain().save(tmp_path), get_target(target))
    assert report.findings == ()
    assert report.int8 is not None
    assert (report.int8.integer, report.int8.total) == (5, 5)


def test_pairs_are_refused(tmp_path: Path) -> None:
    net = good()
    found = findings(net, "xavier-dla", tmp_path)
    assert nodes(found, "dla-pairs") == sorted(name for name in net.nodes if name.endswith((".q", ".dq")))
    assert nodes(findings(plain(), "xavier-dla", tmp_path), "dla-pairs") == []


def test_without_a_cache_it_is_fp16(tmp_path: Path) -> None:
    report = lint(plain().save(tmp_path), get_target("orin-dla"), run=False)
    (found,) = report.findings
    assert (found.rule, found.severity, found.what) == (
        *("calibration-cache", "warning"),
        "there is no net.calib beside it",
    )
    assert report.int8 is None


def test_a_damaged_cache_is_told(tmp_path: Path) -> None:
    (tmp_path / "net.calib").write_text("TRT-8502-EntropyCalibration2\nx: nothing\n")
    (found,) = findings(plain(), "xavier-dla", tmp_path)
    assert (found.rule, found.what) == ("calibration-cache", "net.calib: is not 'tensor: hex'")


@pytest.mark.parametrize(
    ("changes", "names"),
    [({"relu2": 0.2}, ["concat"]), ({"max": 0.2}, ["average", "max"]), ({"conv1": 0.2}, [])],
)
def test_scales_that_must_be_equal(changes: dict[str, float], names: list[str], tmp_path: Path) -> None:
    calibrate(tmp_path, **changes)
    found = findings(plain(), "xavier-dla", tmp_path)
    assert nodes(found, "dla-equal-scales") == names
    (tmp_path / "net.precisions.txt").write_text(",".join(f"{name}:fp16" for name in names))
    assert findings(plain(), "xavier-dla", tmp_path) == ()


def test_tensors_without_a_scale(tmp_path: Path) -> None:
    calibrate(tmp_path, conv2=None, gemm=None)
    report = lint(plain().save(tmp_path), get_target("xavier-dla"), run=False)
    assert nodes(report.findings, "dla-scale") == ["add", "conv2", "gemm"]
    assert report.int8 is not None
    assert (report.int8.integer, report.int8.total, report.int8.floats) == (3, 5, ("conv2", "gemm"))


def convolution(inputs: int, outputs: int, kept: int) -> Net:
    """Of four weights ``kept`` are not 0, along the input channels."""
    net = Net()
    net.inputs = [("x", (1, inputs, SIZE, SIZE))]
    pattern = np.arange(inputs) % 4 < kept
    weight = np.ones((outputs, inputs, 3, 3)) * pattern[:, None, None]
    net.output = net.node("Conv", "conv", ["x", net.constant("w", weight)], pads=[1] * 4)
    return net


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (convolution(64, 64, 2), "it has 64 input channels"),
        (convolution(68, 67, 2), "it has 67 output channels"),
        (convolution(456, 64, 2), "it has 262,656 weights"),
        (convolution(68, 64, 2), None),
        (convolution(68, 72, 1), None),
        (convolution(64, 64, 3), None),
        (convolution(66, 67, 2), None),
    ],
)
def test_sparse_kernels_of_the_orin(net: Net, reason: str | None, tmp_path: Path) -> None:
    """Of a weight that is not 2:4 nothing is said."""
    calibrate(tmp_path, conv=0.1)
    found = [one for one in findings(net, "orin-dla", tmp_path) if one.rule == "dla-sparse"]
    assert [one.what for one in found] == ([f"its weight is 2:4, and {reason}"] if reason else [])
    assert nodes(findings(net, "xavier-dla", tmp_path), "dla-sparse") == []


def test_a_layer_in_fp16_is_not_sparse(tmp_path: Path) -> None:
    calibrate(tmp_path)
    (found,) = (
        one for one in findings(convolution(68, 64, 2), "orin-dla", tmp_path) if one.rule == "dla-sparse"
    )
    assert found.what == "its weight is 2:4, and it is not in INT8"


def test_every_rule_has_a_case() -> None:
    others = {"dla-pairs", "calibration-cache", "dla-equal-scales", "dla-scale", "dla-sparse"}
    assert {rule.name for rule in RULES} == {case[0] for case in CASES} | others
