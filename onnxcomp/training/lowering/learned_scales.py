"""Scales that train: ``Div(s) -> FakeQuant(scale 1) -> Mul(s)``, through which gradients reach them too.

Esser et al. 2020 (LSQ, arXiv 1902.08153), eq. 1 to 3. Weights have that form already, their scales being per
channel; here activations get it, once the layout is settled: until then a FakeQuant node is one of many
elementwise operators.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx_graphsurgeon as gs

from onnxcomp.model import Role
from onnxcomp.training.lowering import edit
from onnxcomp.training.lowering.base import Lowering
from onnxcomp.training.lowering.fake_quant import in_steps


def lower_learned_scales(graph: gs.Graph, scales: Collection[str]) -> int:
    """Rewrite the FakeQuant nodes with one of ``scales``; returns how many."""
    found = [node for node in graph.nodes if node.op == "FakeQuant" and node.inputs[1].name in scales]
    for node in found:
        source, scale, zero = node.inputs
        low, high = node.attrs["quant_min"], node.attrs["quant_max"]
        in_steps(graph, source, scale, int(zero.values), edit.take_output(node), low, high)
    if found:
        edit.settle(graph)
    return len(found)


LOWERING = Lowering(
    "learned scales",
    "fake quantisation of activations whose scale has a gradient",
    lambda training: lower_learned_scales(training.graph, set(training.names(Role.LEARNED_SCALE))),
)
