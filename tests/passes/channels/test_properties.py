"""What holds of every network: a cut equals zeros, and leaves a valid network that can be cut again.

Networks and choices are hypothesis's, but always the same ones: see :mod:`tests.random_graphs`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from onnxcomp import graphs
from onnxcomp.model import Model, from_proto, to_proto
from onnxcomp.passes.channels import Dependencies, cut, find
from onnxcomp.passes.channels.ids import FIXED
from tests import run
from tests.passes.channels import reach
from tests.passes.channels.reference import assert_cut_equals_zeroed, assert_same, some
from tests.random_graphs import IMAGE_HEADS, PLAIN, TOKENS, Network, classifiers, moves, tokens
from tests.random_graphs.compressed import compressed

SHARES = (0.5, 0.2, 0.9)
# A rectangle of channels, as of a shuffle or of mixed positions, is cut along its longer side: more goes
# together than must, and after a cut the other side may be the longer.
RECTANGLES = (moves.shuffle, tokens.mix)
SINGLE_SIDED = tuple(block for block in (*PLAIN, *TOKENS) if block not in RECTANGLES)


def several(examples: int) -> Callable:
    """The same examples each time. For the smallest that fails, which takes minutes, leave out ``phases``."""
    slow = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    return settings(
        derandomize=True,
        max_examples=examples,
        phases=[Phase.generate],
        suppress_health_check=slow,
    )


@several(100)
@given(network=classifiers(), seed=st.integers(0, 999), share=st.sampled_from(SHARES))
def test_a_cut_equals_zeros(network: Network, seed: int, share: float) -> None:
    assert_cut_equals_zeroed(from_proto(network.proto), seed, share)


@several(40)
@given(
    network=classifiers(blocks=PLAIN, heads=IMAGE_HEADS),
    passes=st.sampled_from(["prune", "qat", "prune,qat"]),
    seed=st.integers(0, 999),
    share=st.sampled_from(SHARES),
)
def test_a_cut_equals_zeros_with_masks_and_quantizers(
    network: Network, passes: str, seed: int, share: float
) -> None:
    assert_cut_equals_zeroed(compressed(from_proto(network.proto), passes, seed), seed, share)


@several(40)
@given(network=classifiers(blocks=SINGLE_SIDED), seed=st.integers(0, 999), share=st.sampled_from(SHARES))
def test_two_cuts_equal_one(network: Network, seed: int, share: float) -> None:
    model = from_proto(network.proto)
    dependencies = find(model.graph)
    gone = sorted(some(dependencies, seed, share))
    first, second = set(gone[::2]), set(gone[1::2])
    twice, once = model.copy(), model.copy()
    cut(once, dependencies, gone)
    cut(twice, dependencies, first)
    # A group of one input left is a depthwise convolution: its outputs go with its input from there on.
    assume(_kinds(twice) == _kinds(model))
    after = find(twice.graph)
    cut(twice, after, renumbered(dependencies, after, first, second))
    assert {name: t.shape for name, t in _bound(twice, dependencies).items()} == {
        name: t.shape for name, t in _bound(once, dependencies).items()
    }
    images = run.images(model, 2, seed)
    assert_same(run.outputs(twice, images), run.outputs(once, images))


def _kinds(model: Model) -> list[bool]:
    """For each layer of several groups, whether a group has one input."""
    found = []
    for weight in graphs.weights(model.graph):
        group = weight.node.attrs.get("group", 1)
        each = (
            weight.tensor.shape[0] // group if weight.node.op == "ConvTranspose" else weight.tensor.shape[1]
        )
        found += [each == 1] if group > 1 else []
    return found


def _bound(model: Model, dependencies: Dependencies) -> dict[str, np.ndarray]:
    return {name: t.values for name, t in model.constants().items() if name in dependencies.constants}


def renumbered(
    before: Dependencies, after: Dependencies, gone: Collection[int], wanted: Collection[int]
) -> set[int]:
    """What the channels ``wanted`` are called when those of ``gone`` have left."""
    asked: set[int] = set()
    others: set[int] = set()
    for name, axes in before.constants.items():
        for axis, numbers in axes.items():
            left = numbers[~np.isin(numbers, list(gone))]
            if len(set(left.tolist())) > 1:  # one that is alone in its tensor is no channel any more
                now = after.constants[name][axis]
                asked.update(now[np.isin(left, list(wanted))].tolist())
                others.update(now[~np.isin(left, list(wanted))].tolist())
    assert not (asked & others) - {FIXED}, "channels grew together"
    return asked - {FIXED}


@several(40)
@given(network=classifiers())
def test_cutting_nothing_changes_nothing_and_cutting_all_is_refused(network: Network) -> None:
    model = from_proto(network.proto)
    before = to_proto(model).SerializeToString(deterministic=True)
    dependencies = find(model.graph)
    cut(model, dependencies, ())
    assert to_proto(model).SerializeToString(deterministic=True) == before
    for group in dependencies.groups:
        made = {int(n) for s in dependencies.sources if s.name in group.members for n in s.ids}
        if made == set(group.ids.tolist()) and group.name in dependencies.constants:
            with pytest.raises(ValueError, match="all of its channels"):
                cut(model, dependencies, group.ids.tolist())
        elif made != set(group.ids.tolist()):
            assert group.reason
            with pytest.raises(ValueError, match="not channels that can go"):
                cut(model, dependencies, made)
    assert to_proto(model).SerializeToString(deterministic=True) == before


@several(50)
@given(network=classifiers(blocks=SINGLE_SIDED, heads=IMAGE_HEADS))
def test_groups_are_those_that_changes_of_single_channels_show(network: Network) -> None:
    """No more goes together than must, and no less."""
    assume(not network.proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value)
    model = from_proto(network.proto)
    # To sizes that the network computes all of them may be kept.
    assume(not any(n.op == "Resize" and any(t.inputs for t in list(n.inputs)[1:]) for n in model.graph.nodes))
    dependencies = find(model.graph)
    free = {int(number) for group in dependencies.groups for number in group.ids}
    together, fixed = reach.components(to_proto(model))
    seen: set[int] = set()
    for positions in together:
        numbers = {_number(model, dependencies, position) for position in positions}
        if positions & fixed:
            assert not free & {_number(model, dependencies, p) for p in positions if p[1] == "out"}
        else:
            assert len(numbers) == 1, positions
            assert numbers <= free, positions
            # What nobody reads may yet meet another by its shape, in an Add that a Slice leaves out.
            if any(side == "in" for _, side, _ in positions):
                assert not numbers & seen, "another component has this number"
                seen |= numbers


def _number(model: Model, dependencies: Dependencies, position: reach.Position) -> int:
    name, side, channel = position
    weight = next(weight for weight in graphs.weights(model.graph) if weight.name == name)
    axis = weight.axis if side == "out" else 1 - weight.axis
    axes = dependencies.constants[name]
    if axis not in axes:  # a depthwise ConvTranspose has its outputs along its inputs
        axis, channel = 1 - axis, channel // int(weight.tensor.shape[axis])
    return int(axes[axis][channel])
