"""Pad and Resize along some axes: the same along all, in every form that is deployed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp import runtime
from onnxcomp.deploy import axes
from onnxcomp.deploy.finalize import finalize
from onnxcomp.deploy.targets import get_target
from onnxcomp.model import Model, from_proto
from tests.builder import Builder
from tests.deploy.networks import compressed, images, logits

PADS = {
    "reflect": ([0, 1, 2, 1], [2, 3], {"mode": "reflect"}),
    "constant, one axis": ([1, 2], [-1], {}),
    "swapped": ([1, 0, 0, 2], [3, 2], {"mode": "edge"}),
}
RESIZES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "sizes": (["", "", "sizes"], {"axes": [2, 3], "mode": "linear"}),
    "scales": (["", "scales"], {"axes": [3, 2], "mode": "nearest"}),
    "half": (["", "", "less"], {"axes": [3], "mode": "linear"}),
}
EVERY = [*PADS, *RESIZES]


def network(case: str) -> Model:
    """Conv, Relu, Pad or Resize of (N, 6, 8, 8), Conv, pooling, Gemm; opset 18."""
    net = Builder(0)

    def conv(read: str, name: str, inputs: int) -> str:
        weight = net.constant(f"{name}.w", net.he(6, inputs, 3, 3))
        made = net.node("Conv", [read, weight], f"{name}.made", name, kernel_shape=[3, 3], pads=[1] * 4)
        return net.node("Relu", [made], f"{name}.active")

    read = conv("input", "a", 3)
    if case in PADS:
        pads, along, attributes = PADS[case]
        given = [net.constant("pads", np.array(pads)), "", net.constant("axes", np.array(along))]
        read = net.node("Pad", [read, *given], "moved", **attributes)
    else:
        inputs, attributes = RESIZES[case]
        net.constant("sizes", np.array([4, 16]))
        net.constant("less", np.array([4]))
        net.constant("scales", np.array([2, 0.5], np.float32))
        read = net.node("Resize", [read, *inputs], "moved", **attributes)
    pooled = net.node("GlobalAveragePool", [conv(read, "b", 6)], "pooled")
    flat = net.node("Flatten", [pooled], "flat")
    gemm = [flat, net.constant("c.w", net.he(5, 6)), net.constant("c.b", net.small(5))]
    return from_proto(net.model(net.node("Gemm", gemm, "logits", transB=1), 18, ("N", 3, 8, 8), 5))


def moved(model: Model) -> gs.Node:
    return next(node for node in model.graph.nodes if node.op in ("Pad", "Resize"))


@pytest.mark.parametrize("case", EVERY)
def test_answers_stay_exactly(case: str) -> None:
    model = network(case)
    after = model.copy()
    axes.expand(after.graph)
    assert "axes" not in moved(after).attrs
    assert len(moved(after).inputs) <= 3
    batch = images(model)
    np.testing.assert_array_equal(logits(after, batch), logits(model, batch))


@pytest.mark.parametrize("target", ["xavier", "orin", "ort-cpu"])
@pytest.mark.parametrize("case", EVERY)
def test_deployable_forms_run(case: str, target: str) -> None:
    chosen = get_target(target)
    before = compressed(network(case), "qat", placement=chosen.placement)
    after = finalize(before, chosen)
    batch = images(before)
    found = runtime.session(after, threads=1).run(None, {after.image.name: batch})[0]
    expected = logits(before, batch)
    # A few activations may move by one INT8 step.
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_what_is_computed_stays() -> None:
    model = network("sizes")
    node = moved(model)
    node.inputs[3] = gs.Variable("computed", np.int64, (2,))
    assert axes.resize(node) == "is used with axes"
    node = moved(network("reflect"))
    node.inputs[1] = gs.Variable("computed", np.int64, (4,))
    assert axes.pad(node) == "is used with computed axes or pads"


def test_sizes_of_unknown_dimensions_stay() -> None:
    node = moved(network("sizes"))
    node.inputs[0].shape = ("N", 6, "H", 8)
    assert axes.resize(node) == "is used with axes"
    assert node.attrs["axes"] == [2, 3]
