from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp.deploy.integer.pairs import Encoding, dequantizer, encoding, quantizers
from tests.deploy.integer.small import integers, node, pair, run, start


@pytest.mark.parametrize(("scale", "zero"), [(0.1, 0), (0.1, 128), (1 / 3, 7)])
def test_integer_is_what_the_runtime_computes(scale: float, zero: int) -> None:
    graph, x = start(1, 2000)
    graph.outputs = [pair(graph, x, scale, zero)]
    graph.outputs = [graph.nodes[0].outputs[0]]
    values = np.linspace(-40, 100, 2000, dtype=np.float32)[None]
    values[0, :500] = (np.arange(500) - 249.5) * np.float32(scale)  # ties
    found = encoding(graph.nodes[0])
    assert found == Encoding(np.float32(scale), zero, np.dtype(np.uint8))
    assert [found.integer(value) for value in values[0]] == run(graph, values)[0].tolist()
    assert (found.integer(np.float32(-np.inf)), found.integer(np.float32(np.inf))) == (found.low, found.high)


def test_who_reads_and_who_gives() -> None:
    graph, x = start(1, 4)
    y = node(graph, "Neg", [x], (1, 4))
    first = pair(graph, y, 0.1, 3)
    again = gs.Variable("y2", np.float32, (1, 4))
    second = pair(graph, again, 0.1, 3)
    readers = [one for one in graph.nodes if one.op == "QuantizeLinear"]
    readers[1].inputs[0] = y
    graph.outputs = [first, second]
    assert quantizers(graph, y) == readers
    assert quantizers(graph, x) == quantizers(graph, first) == []
    assert dequantizer(first) is readers[0].outputs[0].outputs[0]
    assert dequantizer(y) is None
    readers[1].inputs[2] = gs.Constant("other", np.array(4, np.uint8))
    assert quantizers(graph, y) == []
    readers[1].inputs[2] = readers[0].inputs[2]
    graph.outputs.append(y)
    assert quantizers(graph, y) == []


def test_one_encoding_for_each_channel_is_none() -> None:
    graph, _ = start(1, 4)
    integers(graph, "w", np.ones((4, 4)), np.full(4, 0.1))
    assert encoding(graph.nodes[0]) is None
