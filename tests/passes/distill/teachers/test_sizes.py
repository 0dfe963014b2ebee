from __future__ import annotations

import pytest

from onnxcomp.model import from_proto
from onnxcomp.passes.distill.teachers.sizes import BATCH, forget, infer, settle
from tests.passes.distill.teachers.scene import NETWORKS, proto


@pytest.mark.parametrize("name", NETWORKS)
def test_settled_shapes_are_those_of_the_file_at_a_fixed_batch(name: str) -> None:
    model, fixed = from_proto(proto(name)), from_proto(proto(name, 17, 4))
    forget(model.graph)
    model.logits.shape = ["N", 10]
    settle(model, 4)
    expected = {key: list(t.shape) for key, t in fixed.graph.tensors().items() if t.shape is not None}
    for key, tensor in model.graph.tensors().items():
        if key in expected and tensor.inputs and all(isinstance(size, int) for size in expected[key]):
            assert list(tensor.shape)[1:] == expected[key][1:], key


def test_a_symbol_follows_the_batch() -> None:
    model = from_proto(proto("densenet"))
    forget(model.graph)
    found = infer(model)
    assert found["/features/conv0/Conv_output_0"] == [BATCH, 16, 16, 16]
    assert found[model.logits.name] == [BATCH, 10]


def test_at_a_number_the_batch_is_that_number() -> None:
    model = from_proto(proto("vit"))
    forget(model.graph)
    assert infer(model, 6)[model.logits.name] == [6, 10]
