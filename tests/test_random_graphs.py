"""The networks that properties are tested on: valid, alive, and of every operator between them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings

from onnxcomp import extras, graphs
from onnxcomp import model as models
from tests import random_graphs, run
from tests.random_graphs.compressed import compressed
from tests.random_graphs.heads import HEADS

OPERATORS = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "InstanceNormalization"),
    *(
        "LayerNormalization",
        "Relu",
        "LeakyRelu",
        "PRelu",
        "Sigmoid",
        "HardSigmoid",
        "HardSwish",
        "Clip",
        "Elu",
    ),
    *("Tanh", "Softplus", "Erf", "Gelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"),
    *("ReduceMean", "Concat", "Split", "Slice", "Gather", "Add", "Sub", "Mul", "Div", "Max", "Min", "Sum"),
    *(
        "Pad",
        "Resize",
        "Flatten",
        "Reshape",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Softmax",
        "Expand",
        "Shape",
    ),
)
DRAWN = 400


@settings(derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(network=random_graphs.classifiers())
def test_hypothesis_draws_valid_networks(network: random_graphs.Network) -> None:
    onnx.checker.check_model(network.proto, full_check=True)
    assert len(repr(network).splitlines()) == len(network.proto.graph.node) + 1
    model = models.from_proto(network.proto)
    logits = run.logits(model, run.images(model, 2))
    assert np.isfinite(logits).all()
    assert logits.shape == (2, model.num_classes)


def test_drawn_networks_are_alive_and_hold_every_operator_and_block() -> None:
    operators: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    opsets = set()
    dead = 0
    for seed in range(DRAWN):
        proto = random_graphs.drawn(seed)
        operators.update({node.op_type for node in proto.graph.node})
        parts.update({node.name.split("/")[1].rpartition("_")[0] for node in proto.graph.node})
        opsets.add(proto.opset_import[0].version)
        logits = _logits(proto)
        assert np.isfinite(logits).all(), seed
        dead += np.allclose(logits[0], logits[1], rtol=1e-3)
    assert {op for op in OPERATORS if operators[op] < 3} == set()
    blocks = (*random_graphs.PLAIN, *random_graphs.TOKENS, *HEADS)
    assert {block.__name__ for block in blocks if parts[block.__name__] < 3} == set()
    assert opsets == set(random_graphs.OPSETS)
    assert dead < 0.05 * DRAWN, "networks that see no difference between two images prove little"


def _logits(proto: onnx.ModelProto) -> np.ndarray:
    """Of two random images, without what loading a model costs."""
    runtime = extras.onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(proto.SerializeToString(), options)
    size = [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim[1:]]
    images = np.random.default_rng(0).standard_normal((2, *size)).astype(np.float32)
    logits: np.ndarray = session.run(None, {"input": images})[0]
    return logits


def test_a_seed_draws_the_same_network_again() -> None:
    first, second = (random_graphs.drawn(3).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("passes", ["prune", "qat", "prune,qat"])
def test_the_compression_form_has_masks_with_zeros_and_scales_that_are_powers_of_two(passes: str) -> None:
    proto = random_graphs.drawn(1, blocks=random_graphs.PLAIN, heads=random_graphs.IMAGE_HEADS)
    model = compressed(models.from_proto(proto), passes)
    masks = list(graphs.masks(model.graph).values())
    pairs = list(graphs.quantizers(model.graph))
    assert bool(masks) == ("prune" in passes)
    assert bool(pairs) == ("qat" in passes)
    assert all(0 < mask.values.mean() < 1 for mask in masks)
    for pair in pairs:
        exponents = np.log2(pair.scale.values)
        assert (exponents == np.round(exponents)).all()
    assert np.isfinite(run.logits(model, run.images(model, 2))).all()
