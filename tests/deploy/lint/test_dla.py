from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxcomp.deploy.dla import calibration_text
from onnxcomp.deploy.lint import lint
from onnxcomp.deploy.lint.dla import RULES
from onnxcomp.deploy.targets import get_target
from tests.deploy.lint.networks import CHANNELS, Net, findings, good, nodes, plain

TENSORS = ("x", "conv1", "relu1", "conv2", "add", "relu2", "conv3", "relu3", "concat", "conv4", "relu4")
BEHIND = ("max", "average", "flat", "gemm")


def calibrate(folder: Path, **changes: float | None) -> None:
    """A cache in which all tensors have the scale 0.1, but for ``changes``."""
    scales = {**dict.fromkeys((*TENSORS, *BEHIND), 0.1), **changes}
    known = {name: scale for name, scale in scales.items() if scale is not None}
    (folder / "net.calib").write_text(calibration_text(known, (8, 5, 2)))


def large_kernel(net: Net) -> None:
    net.constant("conv1.w", np.ones((CHANNELS, CHANNELS, 33, 33)))
    net.set("conv1", pads=[16, 16, 16, 16])


def large_stride(net: Net) -> None:
    net.set("conv1", strides=[9, 9])


def large_padding(net: Net) -> None:
    net.set("conv1", pads=[32, 32, 32, 32])


def large_window(net: Net) -> None:
    net.set("max", kernel_shape=[9, 9], pads=[4, 4, 4, 4], strides=[1, 1])


def many_channels(net: Net) -> None:
    net.constant("conv1.w", np.zeros((8193, CHANNELS, 1, 1)))
    net.constant("conv1.b", np.zeros(8193))
    net.set("conv1", pads=[0, 0, 0, 0])


def grouped_transpose(net: Net) -> None:
    net.constant("t.w", np.ones((CHANNELS, 1, 1, 1)))
    net.insert("ConvTranspose", "up", "relu1", ["t.w"], group=CHANNELS)


def softmax(net: Net) -> None:
    net.insert("Softmax", "soft", "relu1", axis=1)


def height(net: Net) -> None:
    net.set("concat", axis=2)
    net.constant("conv4.w", np.ones((CHANNELS, CHANNELS, 3, 3)))


def free_batch(net: Net) -> None:
    net.inputs = [("x", ("N", CHANNELS, 8, 8))]


CASES: list[tuple[str, Callable[[Net], None], list[str]]] = [
    ("dla-limits", large_kernel, ["conv1"]),
    ("dla-limits", large_stride, ["conv1"]),
    ("dla-limits", large_padding, ["conv1"]),
    ("dla-limits", large_window, ["max"]),
    ("dla-limits", many_channels, ["conv1"]),
    ("dla-limits", grouped_transpose, ["up"]),
    ("dla-operator", softmax, ["soft"]),
    ("dla-concat-axis", height, ["concat"]),
    ("dla-shape", free_batch, [""]),
]


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


def test_the_orin_has_softmax(tmp_path: Path) -> None:
    net = plain()
    softmax(net)
    calibrate(tmp_path, soft=0.1)
    assert findings(net, "orin-dla", tmp_path) == ()


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


def test_every_rule_has_a_case() -> None:
    others = {"dla-pairs", "calibration-cache", "dla-equal-scales", "dla-scale"}
    assert {rule.name for rule in RULES} == {case[0] for case in CASES} | others
