from __future__ import annotations

import pytest

from onnxcomp.deploy.finalize import finalize
from onnxcomp.deploy.targets import get_target
from onnxcomp.parity.compare import with_names_of
from onnxcomp.parity.matching import matches
from onnxcomp.student import student
from tests import pictures, zoo
from tests.deploy.networks import compressed


@pytest.mark.parametrize("name", zoo.ALL)
def test_a_network_matches_itself_in_order(name: str) -> None:
    model = pictures.network(name)
    found = matches(model, model)
    assert [match.tensor for match in found] == [
        node.outputs[0].name for node in model.graph.nodes if node.outputs[0].dtype in (None, "float32")
    ]
    seen = {model.image.name}
    for match in found:
        assert set(match.after) <= seen
        seen.add(match.tensor)
    assert found[-1].tensor == model.logits.name


def test_what_a_tensor_is_computed_from_is_found_through_pairs() -> None:
    reference = pictures.network("resnet")
    deployable = finalize(compressed(reference, "prune{sparsity=0.5},qat"), get_target("xavier"))
    found = {match.tensor: match for match in matches(reference, with_names_of(deployable, reference))}
    alone = {match.tensor: match for match in matches(reference, reference)}
    assert len(found) > 5
    for name, match in found.items():
        for before in match.after:
            assert before in found
        if set(alone[name].after) <= set(found):
            assert match.after == alone[name].after


def test_tensors_of_other_shapes_do_not_match() -> None:
    first, second = pictures.network("resnet"), pictures.network("resnet", classes=7)
    names = {match.tensor for match in matches(first, second)}
    assert first.logits.name not in names
    assert len(names) == len(matches(first, first)) - 1


def test_weights_are_no_inner_tensors() -> None:
    """Folding BatchNormalization changes them, and what is computed with them stays."""
    trained = compressed(pictures.network("resnet"), "qat")
    deployable = finalize(trained, get_target("xavier"))
    names = {match.tensor for match in matches(student(trained), with_names_of(deployable, trained))}
    assert names
    weights = {
        name for name, tensor in deployable.graph.tensors().items() if name.endswith("weight.dequantized")
    }
    assert weights
    assert not names & weights


def test_a_relu_that_a_quantizer_left_out_does_not_match() -> None:
    """As ONNX Runtime's does: the tensor of that name is not clipped yet."""
    reference, candidate = pictures.network("resnet"), pictures.network("resnet")
    relu = next(node for node in candidate.graph.nodes if node.op == "Relu")
    source, name = relu.inputs[0], relu.outputs[0].name
    relu.outputs[0].name, source.name = f"{name}.clipped", name
    names = [match.tensor for match in matches(reference, candidate)]
    assert name not in names
    assert name in [match.tensor for match in matches(reference, reference)]
    assert len(names) == len(matches(reference, reference)) - 2
