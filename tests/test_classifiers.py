"""The networks that other tests rely on are what they promise."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcomp import pipeline, recipe
from onnxcomp.model import LOSS, Role, to_proto
from onnxcomp.training.engine import build
from tests import classifiers, run

# The two DenseNets are of the zoo's operators; the engine needs long to build so many layers.
TRAINED = [name for name in classifiers.NETWORKS if not name.startswith("densenet")]


@pytest.mark.parametrize("name", classifiers.NETWORKS)
def test_is_small_valid_and_tells_images_apart(name: str) -> None:
    model = classifiers.NETWORKS[name]()
    proto = to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    assert proto.ByteSize() < 3e6
    assert (model.batch, model.image_shape, model.num_classes) == (None, (3, 32, 32), 10)
    logits = run.logits(model, run.images(model, 64, seed=1))
    assert 0.05 < logits.std(0).min() < logits.std(0).max() < 0.2  # 0.1 over other images
    assert len(set(logits.argmax(1))) >= 8


@pytest.mark.parametrize("name", classifiers.NETWORKS)
def test_each_call_gives_an_equal_model_of_its_own(name: str) -> None:
    first, second = classifiers.NETWORKS[name](), classifiers.NETWORKS[name]()
    assert to_proto(first) == to_proto(second)
    assert not {id(node) for node in first.graph.nodes} & {id(node) for node in second.graph.nodes}


@pytest.mark.parametrize("name", classifiers.WITH_NORM)
def test_normalization_is_not_the_identity(name: str) -> None:
    model = classifiers.NETWORKS[name]()
    norms = [node for node in model.graph.nodes if node.op == "BatchNormalization"]
    for node in norms:
        assert all(np.ptp(tensor.values) > 0.1 for tensor in node.inputs[1:])


@pytest.mark.parametrize("name", classifiers.FOLDED)
def test_folding_keeps_the_answers(name: str) -> None:
    """To 1e-5: weights are rounded once more."""
    model, folded = classifiers.NETWORKS[name](), classifiers.FOLDED[name]()
    kept = {node.op for node in folded.graph.nodes}
    assert ("BatchNormalization" in kept) == name.startswith("densenet")  # before its convolution there
    images = run.images(model, 2)
    np.testing.assert_allclose(run.logits(folded, images), run.logits(model, images), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_trains_pruned_quantized_and_taught(name: str) -> None:
    """One step gives every trainable a gradient that is finite and not 0."""
    model = classifiers.NETWORKS[name]()
    images, labels = run.images(model, 4), np.arange(4)
    model = pipeline.apply(model, recipe.parse("prune,qat,distill"), calibration=run.Observed())
    engine = build(model, batch_size=4, threads=1)
    assert np.isfinite(engine.step(images, labels).losses[LOSS])
    trainables = {tensor for tensor, role in model.roles.items() if role is Role.TRAINABLE}
    assert set(engine.gradients) == trainables
    for gradient in engine.gradients.values():
        assert np.isfinite(gradient).all()
        assert gradient.any()
