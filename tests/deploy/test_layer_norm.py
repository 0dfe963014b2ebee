"""LayerNormalization written out: the same answers, and nothing that TensorRT 8.5 cannot parse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcomp.deploy.finalize import finalize_report
from onnxcomp.deploy.layer_norm import write_out
from onnxcomp.deploy.lint import lint
from onnxcomp.deploy.targets import get_target
from onnxcomp.model import from_proto, save
from tests import zoo
from tests.builder import Builder
from tests.classifiers import NETWORKS
from tests.deploy.networks import compressed, images, logits

VITS = {"vit": lambda: from_proto(zoo.MORE["vit"]()), "exported": NETWORKS["vit"]}


@pytest.mark.parametrize("name", VITS)
def test_answers_stay(name: str) -> None:
    model = VITS[name]()
    after = model.copy()
    count = sum(node.op == "LayerNormalization" for node in model.graph.nodes)
    assert write_out(after.graph) == count > 0
    assert "LayerNormalization" not in {node.op for node in after.graph.nodes}
    batch = images(model)
    expected = logits(model, batch)
    # Sums in another order, in each of the layers.
    np.testing.assert_allclose(logits(after, batch), expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("axis", [-1, -2, 1, 2, None])
def test_every_axis_with_and_without_a_bias(axis: int | None, bias: bool) -> None:
    net = Builder(0)
    made = net.node("Conv", ["input", net.constant("w", net.he(4, 3, 3, 3))], "made", kernel_shape=[3, 3])
    shape = (4, 6, 6)[{None: 2, -1: 2, -2: 1, 1: 0, 2: 1}[axis] :]
    rng = np.random.default_rng(0)
    inputs = [made, net.constant("scale", rng.normal(size=shape).astype(np.float32))]
    inputs += [net.constant("bias", rng.normal(size=shape).astype(np.float32))] if bias else []
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    normal = net.node("LayerNormalization", inputs, "normal", epsilon=1e-3, **attributes)
    flat = net.node("Flatten", [net.node("GlobalAveragePool", [normal], "pooled")], "flat")
    model = from_proto(net.model(flat, 17, ("N", 3, 8, 8), 4))
    after = model.copy()
    assert write_out(after.graph) == 1
    batch = images(model)
    np.testing.assert_allclose(logits(after, batch), logits(model, batch), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", VITS)
def test_what_finalize_writes_for_xavier_is_parsed_there(name: str, tmp_path: Path) -> None:
    before = compressed(VITS[name](), "qat")
    for target, parsed in (("xavier", False), ("orin", True)):
        after, report = finalize_report(before, get_target(target))
        assert any("LayerNormalization are written out" in note for note in report.notes) != parsed
        assert ("LayerNormalization" in {node.op for node in after.graph.nodes}) == parsed
        save(after, tmp_path / "d.onnx")
        errors = [f for f in lint(tmp_path / "d.onnx", get_target(target)).groups() if f.severity == "error"]
        assert not errors
