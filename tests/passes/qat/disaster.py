"""Networks that quantising harms: one of which a single layer cannot be quantised, and some that err."""

from __future__ import annotations

import numpy as np

from onnxcomp import graphs
from onnxcomp.model import Model, from_proto
from tests import run, zoo

VICTIM = "onnx::Conv_127"
"""The second convolution of the first block of the zoo's resnet."""


def network() -> Model:
    """A resnet with huge weights on one channel of what a layer reads, which is always 0 behind its Relu.

    They change nothing in float, and in INT8 leave no step for the others.
    """
    model = from_proto(zoo.resnet())
    constants = model.constants()
    victim = constants[VICTIM]
    relu = victim.outputs[0].inputs[0].inputs[0]
    before = relu.inputs[0].inputs[0]
    bias = before.inputs[2]
    bias.values = np.where(np.arange(len(bias.values)) == 3, np.float32(-1e4), bias.values)
    values = victim.values.copy()
    values[:, 3] = 1e3
    victim.values = values
    return spread(model)


def spread(model: Model) -> Model:
    """Let random images be of different classes: the mean of each logit over them becomes 0; in place."""
    last = list(graphs.weights(model.graph))[-1].node
    adds = last if len(last.inputs) > 2 else last.outputs[0].outputs[0]
    bias = adds.inputs[-1]
    bias.values = bias.values - run.logits(model, run.images(model, 64, seed=2)).mean(0)
    return model
