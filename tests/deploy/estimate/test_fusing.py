from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcomp import model as models
from onnxcomp.deploy.estimate.fusing import BORDERS, FREE, Fused, fuse
from onnxcomp.deploy.finalize import finalize
from onnxcomp.deploy.lint import pairs
from onnxcomp.deploy.lint.network import read
from onnxcomp.deploy.targets import get_target
from tests import zoo
from tests.deploy.lint.networks import good
from tests.deploy.networks import compressed


def fused(path: Path) -> dict[str, Fused]:
    return {each.name: each for each in fuse(read(path))}


def test_a_quantised_residual_block(tmp_path: Path) -> None:
    """conv2's sum and activation are part of it; Q and DQ are in their neighbours; reshapes are nothing."""
    found = fused(good().save(tmp_path))
    assert {name: each.kind for name, each in found.items()} == {
        "conv1 + relu1": "convolution",
        "conv2 + add + relu2": "convolution",
        "conv3 + relu3": "convolution",
        "concat": "concat",
        "conv4 + relu4": "convolution",
        "max": "pooling",
        "average": "pooling",
        "gemm": "product",
    }
    assert [tensor.name for tensor in found["conv2 + add + relu2"].inputs()] == ["relu1.dq"]


def test_what_others_read_ends_a_layer(tmp_path: Path) -> None:
    net = good()
    net.remove_pair("relu1")
    net.rewire("relu1", "conv1", but=["conv2"])  # the sum reads what lies before the activation
    assert {"conv1", "relu1"} <= set(fused(net.save(tmp_path)))


@pytest.mark.parametrize("target", ["xavier", "orin", "tensorrt-11"])
@pytest.mark.parametrize("name", ["densenet", "resnet", "mobilenet", "mobilenet_v3", "vit"])
def test_every_node_is_in_one_layer(name: str, target: str, tmp_path: Path) -> None:
    path = tmp_path / "d.onnx"
    model = compressed(models.from_proto((zoo.ALL | zoo.MORE)[name]()), "qat")
    models.save(finalize(model, get_target(target)), path)
    network = read(path)
    layers = fuse(network)
    held = [id(node) for layer in layers for node in layer.nodes]
    assert len(held) == len(set(held))
    left = [n for n in network.graph.nodes if id(n) not in set(held)]
    left = [n for n in left if n.op not in (*FREE, *BORDERS) and not all(map(pairs.is_constant, n.inputs))]
    assert {n.outputs[0].dtype for n in left} <= {np.dtype(np.int64), np.dtype(bool)}  # shapes
    convolutions = [n for n in network.graph.nodes if n.op == "Conv"]
    assert sum(layer.kind == "convolution" for layer in layers) == len(convolutions)
    for layer in layers:  # nobody else reads what lies inside
        for node in layer.nodes[:-1]:
            assert {id(reader) for reader in node.outputs[0].outputs} <= {id(n) for n in layer.nodes}


def test_the_float_network_fuses_its_batch_normalisation(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(zoo.resnet(), path)
    names = list(fused(path))
    assert all("Conv" in name or "Pool" in name or "fc" in name for name in names), names
