"""DenseNet's structure, and its answers against torchvision's."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import models
from onnxcomp.models.weights import load_weights
from onnxcomp.report.size import count_parameters
from tests import run
from tests.shared import SHARED, needs_shared


def layer(inputs: int, growth: int) -> int:
    """Parameters of a bottleneck layer: BN, 1x1 to 4 k, BN, 3x3 to k."""
    hidden = 4 * growth
    return 2 * inputs + inputs * hidden + 2 * hidden + hidden * growth * 9


def test_bc_40_12_is_the_papers() -> None:
    """40 layers with weights, growth 12, three blocks, half the features after each transition."""
    model = models.build("densenet-bc-40-12", num_classes=10)
    nodes = model.graph.nodes
    assert sum(node.op in ("Conv", "Gemm") for node in nodes) == 40
    count, width = 3 * 24 * 9 + 2 * 24, 24  # the stem: a convolution and its BN
    for block in range(3):
        for _ in range(6):
            count, width = count + layer(width, 12), width + 12
        if block < 2:
            count, width = count + 2 * width + width * (width // 2), width // 2
    assert width == 132
    count += 2 * width + 10 * width + 10
    assert count_parameters(model).total == count == 176_170  # "about 0.18 M"


def test_names_follow_the_module_path() -> None:
    graph = models.build("densenet121", num_classes=2, input_size=32).graph
    nodes = {node.name: node for node in graph.nodes}
    prefix = "features.denseblock2.denselayer3"
    for name, op in {
        "features.conv0": "Conv",
        "features.norm0": "BatchNormalization",
        "features.relu0": "Relu",
        "features.pool0": "MaxPool",
        f"{prefix}.norm1": "BatchNormalization",
        f"{prefix}.relu1": "Relu",
        f"{prefix}.conv1": "Conv",
        f"{prefix}.norm2": "BatchNormalization",
        f"{prefix}.relu2": "Relu",
        f"{prefix}.conv2": "Conv",
        "features.transition1.norm": "BatchNormalization",
        "features.transition1.relu": "Relu",
        "features.transition1.conv": "Conv",
        "features.transition1.pool": "AveragePool",
        "features.norm5": "BatchNormalization",
        "classifier": "Gemm",
    }.items():
        assert nodes[name].op == op
        for tensor in nodes[name].inputs[1:]:
            assert tensor.name.startswith(f"{name}.")
    norm = nodes[f"{prefix}.norm1"]
    assert [tensor.name.removeprefix(f"{prefix}.norm1.") for tensor in norm.inputs[1:]] == [
        "weight", "bias", "running_mean", "running_var",
    ]  # fmt: skip
    assert len(norm.outputs) == 1
    assert norm.attrs["epsilon"] == pytest.approx(1e-5, rel=1e-6)
    assert nodes["classifier"].attrs["transB"] == 1


def test_a_layer_reads_all_before_it_in_its_block() -> None:
    graph = models.build("densenet-bc-40-12", num_classes=2).graph
    tensors = graph.tensors()
    norm = tensors["features.denseblock1.denselayer3.norm1"].inputs[0]
    joined = norm.inputs[0].inputs[0]
    assert joined.op == "Concat"
    assert [tensor.name for tensor in joined.inputs] == [
        "features.relu0",
        "features.denseblock1.denselayer1.conv2",
        "features.denseblock1.denselayer2.conv2",
    ]


def test_stems() -> None:
    shapes = {}
    for stem in models.STEMS:
        graph = models.build("densenet121", num_classes=2, input_size=64, stem=stem).graph
        nodes = {node.name: node for node in graph.nodes}
        conv = nodes["features.conv0"]
        shapes[stem] = conv.inputs[1].shape, conv.attrs["strides"], "features.pool0" in nodes
        first = nodes["features.denseblock1.denselayer1.norm1"]
        assert first.inputs[0].shape[2:] == [16, 16] if stem == "imagenet" else [64, 64]
    assert shapes == {"imagenet": ((64, 3, 7, 7), [2, 2], True), "cifar": ((64, 3, 3, 3), [1, 1], False)}


def test_initial_weights_are_he_normal() -> None:
    """Deviation sqrt(2 / fan in) within 5 standard errors; BN starts as the identity."""
    constants = models.build("densenet121", num_classes=1000, input_size=32).constants()
    for name, fan_in in {
        "features.conv0.weight": 147,
        "features.denseblock4.denselayer16.conv1.weight": 992,
    }.items():
        values = constants[name].values
        assert values.dtype == np.float32
        expected = np.sqrt(2 / fan_in)
        assert abs(values.std() - expected) < 5 * expected / np.sqrt(2 * values.size)
        assert abs(values.mean()) < 5 * expected / np.sqrt(values.size)
        assert np.abs(values).max() > 3 * expected  # not uniform
    for key, value in {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1}.items():
        assert (constants[f"features.norm5.{key}"].values == value).all()
    weight = constants["classifier.weight"].values
    bound = 1 / np.sqrt(1024)
    assert weight.shape == (1000, 1024)
    assert 0.99 * bound < np.abs(weight).max() <= bound
    assert (constants["classifier.bias"].values == 0).all()


@needs_shared
def test_densenet201_answers_as_torchvisions() -> None:
    """A trained torchvision DenseNet201: its logits, computed by torchvision, to 1e-4."""
    model = models.build("densenet201", num_classes=10, input_size=32)
    load_weights(model, SHARED / "models" / "densenet201-cifar10.safetensors")
    with np.load(SHARED / "models" / "reference.npz") as reference:
        images, expected = reference["inputs"], reference["logits"]
    np.testing.assert_allclose(
        run.outputs(model, images, optimize=True)["logits"], expected, rtol=0, atol=1e-4
    )
