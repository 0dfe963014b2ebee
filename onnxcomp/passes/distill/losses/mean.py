"""The mean of scalar terms."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_graphsurgeon as gs

from onnxcomp.losses import add_node, scalar


def mean(graph: gs.Graph, name: str, terms: Sequence[gs.Variable]) -> gs.Variable:
    """The mean of ``terms``, at least one, as a scalar called ``name``."""
    total = terms[0]
    for index, term in enumerate(terms[1:], start=1):
        total = add_node(graph, "Add", f"{name}/{index}/sum", [total, term])
    return add_node(graph, "Mul", name, [total, scalar(f"{name}/share", 1 / len(terms))])
