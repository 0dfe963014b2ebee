"""What a cut is measured against: the same network with zeros. It shares nothing with the cut."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx

from onnxcomp import graphs
from onnxcomp.model import Model, from_proto, to_proto
from onnxcomp.passes.channels import Dependencies, cut, find
from tests import run

TOLERANCE = 1e-5
"""Of every output, relative to its largest value: float32 sums in another order."""


def zeroed(model: Model, dependencies: Dependencies, gone: Collection[int]) -> Model:
    """A copy in which every slice of a layer's weight that belongs to a channel of ``gone`` is 0."""
    result = model.copy()
    constants = result.constants()
    for name in {weight.name for weight in graphs.weights(result.graph)}:
        values = constants[name].values.copy()
        for axis, numbers in dependencies.constants.get(name, {}).items():
            np.moveaxis(values, axis, 0)[np.isin(numbers, list(gone))] = 0
        constants[name].values = values
    return result


def some(dependencies: Dependencies, seed: int, share: float) -> set[int]:
    """Channels that can go, at random, so many that none is left over alone; each tensor keeps one."""
    free = sorted({int(number) for group in dependencies.groups for number in group.ids})
    np.random.default_rng(seed).shuffle(free)
    spans = [set(span.tolist()) for span in dependencies.spans()]
    gone: set[int] = set()
    for number in free[: max(1, round(share * len(free)))]:
        if not any(span <= gone | {number} for span in spans):
            gone.add(number)
    return gone


def assert_same(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert np.isfinite(values).all()
        np.testing.assert_allclose(found[name], values, rtol=0, atol=TOLERANCE * np.abs(values).max())


def assert_sound(model: Model) -> None:
    """The checker and strict shape inference pass; every shape is the inferred one; nothing dangles."""
    proto = to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    declared = {entry.name: _sizes(entry) for entry in proto.graph.value_info}
    read = {name for node in proto.graph.node for name in node.input}
    ends = read | {output.name for output in proto.graph.output}
    assert all(any(name in ends for name in node.output) for node in proto.graph.node)
    assert {tensor.name for tensor in proto.graph.initializer} <= read
    assert {entry.name for entry in proto.graph.input} <= read
    for tensor in proto.graph.initializer:
        assert 0 not in tensor.dims, f"{tensor.name} has no elements"
    del proto.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    for entry in inferred.graph.value_info:
        for ours, theirs in zip(declared.get(entry.name, ()), _sizes(entry), strict=False):
            assert ours == theirs or 0 in (ours, theirs), f"{entry.name} is declared wrongly"
    assert from_proto(to_proto(model)).constants().keys() == model.constants().keys()


def _sizes(entry: onnx.ValueInfoProto) -> list[int]:
    return [dim.dim_value for dim in entry.type.tensor_type.shape.dim]


def assert_cut_equals_zeroed(model: Model, seed: int, share: float) -> None:
    """A cut of some channels leaves a sound and smaller network that computes what the zeroed one does."""
    dependencies = find(model.graph)
    images = run.images(model, 2, seed)
    before = to_proto(model).SerializeToString(deterministic=True)
    gone = some(dependencies, seed, share)
    expected = run.outputs(zeroed(model, dependencies, gone), images)
    result = model.copy()
    cut(result, dependencies, gone)
    assert_sound(result)
    assert_same(run.outputs(result, images), expected)
    assert to_proto(model).SerializeToString(deterministic=True) == before, "the argument changed"
    assert bool(gone) == (_parameters(result) < _parameters(model))


def _parameters(model: Model) -> int:
    return sum(weight.tensor.values.size for weight in graphs.weights(model.graph))
