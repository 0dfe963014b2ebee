"""Which operators are left once a network of :mod:`tests.training.probes` is lowered."""

from __future__ import annotations

from onnxcomp.model import Model
from onnxcomp.training.lowering import lower


def assert_taken(model: Model, lowering: str, op: str, nodes: int = 1) -> None:
    """``lowering`` takes ``nodes`` nodes and leaves no ``op`` that moves; turned off, it leaves all."""
    training = lower(model, 2)
    counts = {rewrite.name: rewrite.nodes for rewrite in training.rewrites}
    assert counts[lowering] == nodes
    left = [node for node in training.graph.nodes if node.op == op]
    # What an extreme is compared to stays, and is no longer on the way of a gradient.
    assert all(reader.op == "Equal" for node in left for reader in node.outputs[0].outputs)
    without = lower(model, 2, without={lowering})
    assert len([node for node in without.graph.nodes if node.op == op]) == nodes
