from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from onnxcomp import graphs, pipeline, recipe
from onnxcomp.commands import inspect as command
from onnxcomp.report import selection
from onnxcomp.report.layers import layers
from onnxcomp.report.selection import Selection
from tests import pictures, run

MODEL = pipeline.apply(pictures.network("densenet"), recipe.parse("qat"), calibration=run.Observed())
LAYERS = [
    replace(layer, sparsity=float(index % 3), precision="fp32" if index < 2 else layer.precision)
    for index, layer in enumerate(layers(MODEL))
]
NAMES = [layer.name for layer in LAYERS]


def names(**options: Any) -> list[str]:
    return [layer.name for layer in Selection(**options).of(LAYERS)]


def test_all_in_the_graph_s_order() -> None:
    assert names() == NAMES


@pytest.mark.parametrize("key", ["sparsity", "parameters", "macs"])
def test_numbers_are_sorted_largest_first(key: str) -> None:
    found = Selection(sort=key).of(LAYERS)
    numbers = [getattr(layer, key) for layer in found]
    assert numbers == sorted(numbers, reverse=True)
    same = [layer.name for layer in found if getattr(layer, key) == numbers[0]]
    assert same == [name for name in NAMES if name in same]  # equal ones in the graph's order


def test_names_are_sorted_as_the_alphabet() -> None:
    assert names(sort="name") == sorted(NAMES)


def test_unknown_macs_come_last() -> None:
    unknown = [replace(LAYERS[0], macs=None), *LAYERS[1:]]
    assert Selection(sort="macs").of(unknown)[-1].macs is None


def test_a_name_fits_one_of_the_patterns() -> None:
    first, last = NAMES[0], NAMES[-1]
    assert names(names=(first, f"*{last[-8:]}")) == [first, last]
    assert names(names=(first.upper(),)) == []
    assert names(names=("no*",)) == []


def test_operators() -> None:
    assert names(ops=("Gemm",)) == [layer.name for layer in LAYERS if layer.op == "Gemm"] != []
    assert names(ops=("Gemm", "Conv")) == NAMES


def test_precisions() -> None:
    assert names(precision="fp32") == NAMES[:2]
    assert names(precision="int8") == names(precision="int8 w+a") == NAMES[2:]
    assert names(precision="int8 weights") == []


def test_the_options_offer_what_there_is() -> None:
    assert command.OPS == graphs.WEIGHTED_OPS
    assert tuple(selection.KEYS) == command.SORTS
    assert command.PRECISIONS == selection.PRECISIONS
