"""Where the stages of a network end: the last activation before each drop of resolution."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxcomp import graphs

ACTIVATIONS = ("Relu", "LeakyRelu", "Clip", "PRelu")
CONVOLUTIONS = ("Conv", "ConvTranspose")


def stage_ends(graph: gs.Graph) -> list[gs.Variable]:
    """The pre-activations at the end of each stage, from the image to the logits.

    A stage is a run of the network at one resolution (height, width) with at least two
    convolutions, so a stem of one convolution is none. Its end is the input of its last activation:
    in a DenseNet the transition's BatchNormalization after a dense block, in a ResNet the last sum.
    """
    ends: dict[tuple[int, int], gs.Variable] = {}
    convolutions: dict[tuple[int, int], int] = {}
    for node in graph.nodes:
        if not graphs.is_student(node):
            continue
        size = _resolution(node.outputs[0])
        if size is None:
            continue
        if node.op in CONVOLUTIONS:
            convolutions[size] = convolutions.get(size, 0) + 1
        if node.op in ACTIVATIONS and _resolution(node.inputs[0]) == size:
            ends[size] = node.inputs[0]
    return [tensor for size, tensor in ends.items() if convolutions.get(size, 0) >= 2]


def _resolution(tensor: gs.Tensor) -> tuple[int, int] | None:
    shape = tensor.shape
    if shape is None or len(shape) != 4:
        return None
    height, width = shape[2:]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None
