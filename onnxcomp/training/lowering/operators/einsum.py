"""Einsum of two tensors as one MatMul.

Letters are shared by both tensors and the result (batch), by both alone (summed), or by one and the result.
Others (a letter twice in a tensor, or summed within one, and the ellipsis) are left as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import onnx_graphsurgeon as gs

from onnxcomp.training.lowering.operators.writer import Inputs, Writer, lowering


class Terms(NamedTuple):
    """The letters of an equation."""

    left: str
    right: str
    result: str


def _terms(equation: str) -> Terms | None:
    """The parts of ``left,right->result``, or None for what one MatMul does not compute."""
    equation = equation.replace(" ", "")
    if equation.count(",") != 1 or "." in equation:
        return None
    operands, arrow, result = equation.partition("->")
    if not arrow:
        result = "".join(sorted(c for c in set(operands) - {","} if operands.count(c) == 1))
    left, right = operands.split(",")
    repeated = any(len(set(term)) != len(term) for term in (left, right, result))
    alone = (set(left) ^ set(right)) - set(result)
    return None if repeated or alone else Terms(left, right, result)


def _einsum(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
    terms = _terms(attrs["equation"])
    assert terms is not None
    left, right, result = terms
    sizes = {c: n for t, x in zip(terms, inputs, strict=False) for c, n in zip(t, x.shape, strict=True)}
    batch = [c for c in result if c in left and c in right]
    rows = [c for c in result if c not in right]
    columns = [c for c in result if c not in left]
    summed = [c for c in left if c not in result]

    def arranged(tensor: gs.Tensor, letters: str, first: list[str], second: list[str]) -> gs.Tensor:
        turned = write("Transpose", tensor, perm=[letters.index(c) for c in [*batch, *first, *second]])
        shape = [*(sizes[c] for c in batch), _count(sizes, first), _count(sizes, second)]
        return write("Reshape", turned, shape)

    product = write(
        "MatMul",
        arranged(inputs[0], left, rows, summed),
        arranged(inputs[1], right, summed, columns),
    )
    order = [*batch, *rows, *columns]
    product = write("Reshape", product, [sizes[c] for c in order])
    write.into("Transpose", product, perm=[order.index(c) for c in result])


def _count(sizes: dict[str, int], letters: Iterable[str]) -> int:
    return math.prod(sizes[c] for c in letters)


def _condition(node: gs.Node) -> bool:
    return len(node.inputs) == 2 and _terms(node.attrs["equation"]) is not None


LOWERING = lowering(
    "einsum",
    "Einsum of two tensors that is one MatMul, which has no gradient",
    {"Einsum": _einsum},
    _condition,
)
