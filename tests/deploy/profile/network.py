"""The network of the samples in tests/deploy/trtexec/samples, and their profiles."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from onnxcomp.deploy.profile.layer import Layer
from onnxcomp.deploy.profile.nodes import Names, names
from onnxcomp.deploy.profile.profile import Conditions, Profile
from onnxcomp.deploy.profile.reading import read
from onnxcomp.deploy.trtexec.exports.layer_times import read_layer_times
from onnxcomp.deploy.trtexec.exports.layers import read_layers
from onnxcomp.deploy.trtexec.exports.runs import read_runs
from tests.deploy.trtexec.samples import sample

NODES = (
    ("x.Q", "QuantizeLinear", "x s z", "x.int8"),
    ("x.DQ", "DequantizeLinear", "x.int8 s z", "x.float"),
    ("conv1.weight.Q", "QuantizeLinear", "conv1.weight s z", "w1.int8"),
    ("conv1.weight.DQ", "DequantizeLinear", "w1.int8 s z", "w1"),
    ("conv1", "Conv", "x.float w1", "c1"),
    ("relu1", "Relu", "c1", "r1"),
    ("pool", "MaxPool", "r1", "b1"),
    ("b1.Q", "QuantizeLinear", "b1 s z", "b1.int8"),
    ("b1.DQ", "DequantizeLinear", "b1.int8 s z", "b1.float"),
    ("conv2.weight.Q", "QuantizeLinear", "conv2.weight s z", "w2.int8"),
    ("conv2.weight.DQ", "DequantizeLinear", "w2.int8 s z", "w2"),
    ("conv2", "Conv", "b1.float w2", "c2"),
    ("add", "Add", "c2 b1", "a2"),
    ("relu2", "Relu", "a2", "b2"),
    ("b2.Q", "QuantizeLinear", "b2 s z", "b2.int8"),
    ("b2.DQ", "DequantizeLinear", "b2.int8 s z", "b2.float"),
    ("conv3.weight.Q", "QuantizeLinear", "conv3.weight s z", "w3.int8"),
    ("conv3.weight.DQ", "DequantizeLinear", "w3.int8 s z", "w3"),
    ("conv3", "Conv", "b2.float w3", "c3"),
    ("relu3", "Relu", "c3", "b3"),
    ("mean", "GlobalAveragePool", "b3", "m"),
    ("flat", "Flatten", "m", "f"),
    ("fc", "Gemm", "f fc.weight", "l"),
    ("scale", "Mul", "l two", "t"),
    ("softmax", "Softmax", "t", "y"),
)
INITIALIZERS = ("s", "z", "conv1.weight", "conv2.weight", "conv3.weight", "fc.weight", "two")


def network() -> onnx.ModelProto:
    """Its nodes and names; the weights are single zeros, for nothing here computes."""
    nodes = [
        helper.make_node(operator, inputs.split(), [output], name) for name, operator, inputs, output in NODES
    ]
    weights = [helper.make_tensor(name, TensorProto.FLOAT, (1,), (0.0,)) for name in INITIALIZERS]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", (4, 3, 32, 32)), ("y", (4, 10)))
    ]
    return helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], weights))


def profile(version: str, known: Names | None = None, conditions: Conditions | None = None) -> Profile:
    """The profile of the sample of one version, by default with the network's names."""
    return read(
        None,
        read_layer_times(sample(version, "profile")),
        read_layers(sample(version, "layers")),
        read_runs(sample(version, "times")),
        known or names(network()),
        conditions,
    )


def layer_of(found: Profile, node: str) -> Layer:
    """The one layer that holds ``node``."""
    (layer,) = [each for each in found.layers if node in each.nodes]
    return layer
