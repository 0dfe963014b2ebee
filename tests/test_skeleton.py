from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from onnxcomp import skeleton
from tests import zoo


@pytest.mark.parametrize("name", zoo.ALL)
def test_apart_and_together_is_the_same_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skeleton, "SMALL", 64)
    proto = zoo.ALL[name]()
    before = proto.SerializeToString(deterministic=True)
    light, arrays = skeleton.split(proto)
    assert proto.SerializeToString(deterministic=True) == before
    assert arrays
    assert not {tensor.name for tensor in light.graph.initializer} & set(arrays)
    assert max(np.prod(tensor.dims) for tensor in light.graph.initializer) < skeleton.SMALL
    onnx.checker.check_model(light)
    graph = gs.import_onnx(light)
    skeleton.fill(graph, arrays)
    assert [tensor.name for tensor in graph.inputs] == ["input"]
    constants = {name: t.values for name, t in graph.tensors().items() if isinstance(t, gs.Constant)}
    for tensor in proto.graph.initializer:
        if tensor.name in constants:  # one that no node reads is not imported
            np.testing.assert_array_equal(constants[tensor.name], onnx.numpy_helper.to_array(tensor))
    assert {tensor.name for tensor in proto.graph.initializer} <= set(constants)


def test_an_initializer_that_is_an_input_too_stays() -> None:
    proto = zoo.resnet()
    tensor = next(t for t in proto.graph.initializer if np.prod(t.dims) >= skeleton.SMALL)
    proto.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, 1, tensor.dims))
    light, arrays = skeleton.split(proto)
    assert tensor.name not in arrays
    assert tensor.name in {entry.name for entry in light.graph.initializer}


def test_data_that_is_too_short_is_refused() -> None:
    proto = zoo.resnet()
    tensor = next(t for t in proto.graph.initializer if np.prod(t.dims) >= skeleton.SMALL)
    tensor.raw_data = tensor.raw_data[:-8]
    with pytest.raises((onnx.checker.ValidationError, ValueError)):
        skeleton.split(proto)
