"""Which tensors of two networks are the same: those that are called so, are float and fit in shape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.model import Model
from onnxcomp.shapes import Shape, shapes

CLIPPING = ("Relu", "Clip")


@dataclass(frozen=True)
class Match:
    """A tensor that both networks compute.

    Attributes:
        tensor: its name.
        node, op: that computes it in the candidate.
        after: names of the matching tensors that it is computed from, none of them through another one.
    """

    tensor: str
    node: str
    op: str
    after: tuple[str, ...]


def matches(reference: Model, candidate: Model) -> list[Match]:
    """Matching tensors in the candidate's order, the last one first seen last; logits count as well.

    Both are taken as they are: cut off teachers first (:func:`onnxcomp.student.student`). Logits match
    whatever they are called, see :func:`onnxcomp.parity.compare.with_names_of`.
    """
    theirs, ours = shapes(reference.graph).fixed, shapes(candidate.graph).fixed
    known = {tensor.name: tensor for tensor in _computed(reference.graph)}
    common = {
        tensor.name
        for tensor in _computed(candidate.graph)
        if tensor.name in known
        and _fit(theirs.get(tensor.name), ours.get(tensor.name))
        and _is_clipped(known[tensor.name]) <= _is_clipped(tensor)
    }
    return list(_ordered(candidate.graph, common))


def _computed(graph: gs.Graph) -> Iterator[gs.Variable]:
    """What the image reaches: what comes of constants alone, such as a dequantised weight, may differ."""
    images = {id(tensor) for tensor in graph.inputs}
    for node in graph.nodes:
        if any(id(tensor) in images for tensor in node.inputs):
            images.update(id(tensor) for tensor in node.outputs)
            yield from (tensor for tensor in node.outputs[:1] if tensor.name and _is_float(tensor))


def _is_clipped(tensor: gs.Tensor) -> bool:
    """ONNX Runtime's quantizer leaves a Relu out (the pair behind it clips) and keeps its tensor's name."""
    return _maker(tensor.inputs[0]).op in CLIPPING


def _is_float(tensor: gs.Tensor) -> bool:
    return tensor.dtype is None or tensor.dtype == np.float32


def _fit(first: Shape | None, second: Shape | None) -> bool:
    if first is None or second is None:
        return first is second
    return len(first) == len(second) and all(
        a is None or b is None or a == b for a, b in zip(first, second, strict=True)
    )


def _ordered(graph: gs.Graph, common: set[str]) -> Iterator[Match]:
    above: dict[str, frozenset[str]] = {}
    for node in graph.nodes:
        after = frozenset[str]().union(*(_seen(node.inputs, above, common)))
        for tensor in node.outputs:
            above[tensor.name] = after
        if node.outputs and node.outputs[0].name in common:
            maker = _maker(node)
            yield Match(node.outputs[0].name, maker.name, maker.op, tuple(sorted(after)))


def _maker(node: gs.Node) -> gs.Node:
    """What computes the values, where ``node`` only dequantises them."""
    makers = node.inputs[0].inputs if node.op == "DequantizeLinear" else []
    return makers[0] if makers and makers[0].op != "QuantizeLinear" else node


def _seen(
    inputs: Iterable[gs.Tensor], above: dict[str, frozenset[str]], common: set[str]
) -> Iterator[frozenset[str]]:
    for tensor in inputs:
        yield frozenset({tensor.name}) if tensor.name in common else above.get(tensor.name, frozenset())
