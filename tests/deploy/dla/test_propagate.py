from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp.deploy.dla.propagate import propagate, unary


class Net:
    """A graph written node by node; every tensor is float32."""

    def __init__(self) -> None:
        self.tensors: dict[str, gs.Variable] = {}
        self.nodes: list[gs.Node] = []

    def tensor(self, name: str, dtype: type = np.float32) -> gs.Variable:
        return self.tensors.setdefault(name, gs.Variable(name, dtype, ("N", 4, 8, 8)))

    def add(self, op: str, inputs: str, output: str) -> Net:
        read = [self.tensor(name) for name in inputs.split()]
        self.nodes.append(gs.Node(op, f"{op}/{output}", {}, read, [self.tensor(output)]))
        return self

    @property
    def graph(self) -> gs.Graph:
        made = {id(tensor) for node in self.nodes for tensor in node.outputs}
        ends = [tensor for tensor in self.tensors.values() if not tensor.outputs]
        return gs.Graph(self.nodes, [t for t in self.tensors.values() if id(t) not in made], ends)


@pytest.mark.parametrize("op", ["Relu", "Clip", "Reshape", "Flatten", "Transpose", "Squeeze", "Identity"])
def test_what_keeps_the_range_keeps_the_scale(op: str) -> None:
    graph = Net().add(op, "a", "b").add(op, "b", "c").graph
    for name in "abc":
        assert propagate(graph, {name: 0.5}) == (dict.fromkeys("abc", 0.5), [])


def test_known_scales_on_both_sides_stay() -> None:
    graph = Net().add("Relu", "a", "b").graph
    assert propagate(graph, {"a": 0.5, "b": 0.25}) == ({"a": 0.5, "b": 0.25}, [])


@pytest.mark.parametrize("op", ["Conv", "Sigmoid", "Add", "GlobalAveragePool", "BatchNormalization"])
def test_what_changes_the_range_passes_no_scale_on(op: str) -> None:
    graph = Net().add(op, "a", "b").graph
    assert propagate(graph, {"a": 0.5}) == ({"a": 0.5}, [])
    assert propagate(graph, {"b": 0.5}) == ({"b": 0.5}, [])


def test_concat_gets_the_largest() -> None:
    graph = Net().add("Concat", "a b c", "d").graph
    assert propagate(graph, {"a": 0.5, "b": 0.75}) == (dict.fromkeys("abcd", 0.75), [])


def test_concats_that_meet_share_one_scale() -> None:
    graph = Net().add("Concat", "a b", "c").add("Concat", "c d", "e").add("Concat", "b f", "g").graph
    assert propagate(graph, {"a": 0.5, "d": 0.75, "f": 0.6}) == (dict.fromkeys("abcdefg", 0.75), [])


def test_a_scale_reaches_concat_through_relu_first() -> None:
    """What b is known to hold must not be cut off at a's scale."""
    graph = Net().add("Relu", "b", "r").add("Concat", "a b", "c").graph
    scales, apart = propagate(graph, {"a": 0.5, "r": 0.75})
    assert scales == {**dict.fromkeys("abc", 0.75), "r": 0.75}
    assert apart == []


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_pooling_has_equal_scales(op: str) -> None:
    graph = Net().add(op, "a", "b").graph
    assert propagate(graph, {"a": 0.5, "b": 0.3}) == ({"a": 0.5, "b": 0.5}, [])
    assert propagate(graph, {"b": 0.3}) == ({"a": 0.3, "b": 0.3}, [])


@pytest.mark.parametrize("op", ["Concat", "AveragePool"])
def test_scales_far_apart_stay(op: str) -> None:
    graph = Net().add(op, "a", "b").add("Relu", "b", "c").graph
    scales, apart = propagate(graph, {"a": 0.5, "b": 0.2})
    assert (scales, apart) == ({"a": 0.5, "b": 0.2, "c": 0.2}, [f"{op}/b"])


def test_integers_have_no_scale() -> None:
    net = Net()
    net.tensor("i", np.int64)
    net.tensor("j", np.int64)
    graph = net.add("Concat", "i i", "j").add("Relu", "a", "b").graph
    assert propagate(graph, {"a": 0.5}) == ({"a": 0.5, "b": 0.5}, [])


def test_a_convolution_that_only_an_add_reads_gets_1() -> None:
    graph = Net().add("Conv", "x", "a").add("Add", "a b", "c").graph
    assert unary(graph, {"b": 0.5}) == {"a": 1.0}
    assert unary(graph, {}) == {}
    assert unary(graph, {"a": 0.2, "b": 0.5}) == {}
    graph = Net().add("Conv", "x", "a").add("Add", "a b", "c").add("Relu", "a", "d").graph
    assert unary(graph, {"b": 0.5}) == {}
    graph = Net().add("Conv", "x", "a").add("Conv", "y", "b").add("Add", "a b", "c").graph
    assert unary(graph, {}) == {}
