from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcomp.deploy.lint.dla_limits import RULES
from tests.deploy.lint.networks import CHANNELS, Net, findings, nodes, plain
from tests.deploy.lint.test_dla import calibrate


def kernel(net: Net, size: int, padding: int) -> None:
    net.constant("conv1.w", np.ones((CHANNELS, CHANNELS, size, size)))
    net.set("conv1", pads=[padding] * 4)


def large_kernel(net: Net) -> None:
    kernel(net, 33, 16)


def large_stride(net: Net) -> None:
    net.set("conv1", strides=[9, 9])


def large_padding(net: Net) -> None:
    net.set("conv1", pads=[32, 32, 32, 32])


def wide_padding(net: Net) -> None:
    """Within 31, and as wide as the kernel."""
    net.set("conv1", pads=[3, 3, 3, 3])


def large_window(net: Net) -> None:
    net.set("max", kernel_shape=[9, 9], pads=[4, 4, 4, 4], strides=[1, 1])


def many_channels(net: Net) -> None:
    net.constant("conv1.w", np.zeros((8193, CHANNELS, 1, 1)))
    net.constant("conv1.b", np.zeros(8193))
    net.set("conv1", pads=[0, 0, 0, 0])


def transpose(net: Net, size: int = 1, channels: int = CHANNELS, **attributes: Any) -> None:
    net.constant("t.w", np.ones((CHANNELS, channels, size, size)))
    net.insert("ConvTranspose", "up", "relu1", ["t.w"], **attributes)


def grouped_transpose(net: Net) -> None:
    transpose(net, channels=1, group=CHANNELS)


def slow_transpose(net: Net) -> None:
    transpose(net, size=23)


def volume(net: Net) -> None:
    net.inputs = [("x", (1, CHANNELS, 8, 8, 8))]
    net.constant("conv1.w", np.ones((CHANNELS, CHANNELS, 3, 3, 3)))
    net.set("conv1", pads=[1] * 6)


def even_window(net: Net) -> None:
    net.insert("LRN", "norm", "relu1", size=4)


def computed_slope(net: Net) -> None:
    net.insert("PRelu", "leaky", "relu1", ["relu1"])


def relu128(net: Net) -> None:
    net.insert("Clip", "clip", "relu1", [net.constant("low", 0.0), net.constant("high", 128.0)])


def negative(net: Net) -> None:
    net.insert("Clip", "clip", "relu1", [net.constant("low", -1.0), net.constant("high", 1.0)])


def negative_without_a_limit(net: Net) -> None:
    net.insert("Clip", "clip", "relu1", [net.constant("low", -1.0)])


def product_of_activations(net: Net) -> None:
    net.insert("MatMul", "product", "relu1", ["relu1"])


def softmax(net: Net) -> None:
    net.insert("Softmax", "soft", "relu1", axis=1)


def softmax_over_images(net: Net) -> None:
    net.insert("Softmax", "soft", "relu1", axis=0)


def wide_softmax(net: Net) -> None:
    net.constant("t.w", np.ones((CHANNELS, 1025, 1, 1)))
    net.insert("ConvTranspose", "up", "relu1", ["t.w"])
    net.insert("Softmax", "soft", "up", axis=1)


def wide_rows(net: Net) -> None:
    """A bank for a kernel's 784 bytes, 16 for 7 rows of 576 entries of 256 a bank."""
    kernel(net, 7, 3)
    net.inputs = [("x", (1, CHANNELS, 8, 2304))]


def fitting_rows(net: Net) -> None:
    wide_rows(net)
    net.inputs = [("x", (1, CHANNELS, 8, 2048))]


def height(net: Net) -> None:
    net.set("concat", axis=2)
    net.constant("conv4.w", np.ones((CHANNELS, CHANNELS, 3, 3)))


def resize(*factors: float, mode: str = "nearest") -> Callable[[Net], None]:
    def insert(net: Net) -> None:
        net.insert(
            "Resize",
            "grow",
            "relu1",
            ["", net.constant("factors", factors)],
            mode=mode,
            coordinate_transformation_mode="asymmetric",
        )

    return insert


CASES: list[tuple[str, str, Callable[[Net], None], str]] = [
    ("dla-limits", "xavier-dla", large_kernel, "conv1"),
    ("dla-limits", "xavier-dla", large_stride, "conv1"),
    ("dla-limits", "xavier-dla", large_padding, "conv1"),
    ("dla-limits", "xavier-dla", wide_padding, "conv1"),
    ("dla-limits", "xavier-dla", large_window, "max"),
    ("dla-limits", "xavier-dla", many_channels, "conv1"),
    ("dla-limits", "xavier-dla", grouped_transpose, "up"),
    ("dla-limits", "xavier-dla", slow_transpose, "up"),
    ("dla-limits", "xavier-dla", volume, "conv1"),
    ("dla-limits", "xavier-dla", even_window, "norm"),
    ("dla-limits", "xavier-dla", computed_slope, "leaky"),
    ("dla-limits", "xavier-dla", relu128, "clip"),
    ("dla-limits", "xavier-dla", negative, "clip"),
    ("dla-limits", "xavier-dla", negative_without_a_limit, "clip"),
    ("dla-limits", "xavier-dla", product_of_activations, "product"),
    ("dla-limits", "orin-dla", wide_softmax, "soft"),
    ("dla-limits", "orin-dla", softmax_over_images, "soft"),
    ("dla-operator", "xavier-dla", softmax, "soft"),
    ("dla-concat-axis", "xavier-dla", height, "concat"),
    ("dla-buffer", "xavier-dla", wide_rows, "conv1"),
    ("dla-resize", "xavier-dla", resize(1, 1, 1.5, 2), "grow"),
    ("dla-resize", "xavier-dla", resize(1, 1, 33, 2), "grow"),
    ("dla-resize", "xavier-dla", resize(1, 2, 2, 2), "grow"),
    ("dla-resize", "xavier-dla", resize(1, 1, 5, 5, mode="linear"), "grow"),
    ("dla-resize", "xavier-dla", resize(1, 1, 2, 2, mode="cubic"), "grow"),
]


@pytest.mark.parametrize(("rule", "target", "break_it", "name"), CASES)
def test_a_broken_network_is_caught_with_its_node(
    rule: str, target: str, break_it: Callable[[Net], None], name: str, tmp_path: Path
) -> None:
    net = plain()
    break_it(net)
    calibrate(tmp_path)
    found = findings(net, target, tmp_path)
    assert set(nodes(found, rule)) == {name}
    assert "error" not in {one.severity for one in found if one.rule == rule}


def relu6(net: Net) -> None:
    net.insert("Clip", "good", "relu1", [net.constant("low", 0.0), net.constant("high", 6.0)])


def grown(net: Net) -> None:
    resize(1, 1, 32, 2)(net)
    net.nodes["grow"].output[0] = "good"
    net.rewire("grow", "good")


@pytest.mark.parametrize(
    ("target", "change"),
    [
        ("xavier-dla", relu6),
        ("xavier-dla", grown),
        ("xavier-dla", transpose),
        ("xavier-dla", fitting_rows),
        ("orin-dla", softmax),
    ],
)
def test_what_the_dla_has_is_let_be(target: str, change: Callable[[Net], None], tmp_path: Path) -> None:
    net = plain()
    change(net)
    calibrate(tmp_path, soft=0.1, good=0.1, up=0.1)
    assert findings(net, target, tmp_path) == ()


def test_every_rule_has_a_case() -> None:
    assert {rule.name for rule in RULES} == {case[0] for case in CASES}
