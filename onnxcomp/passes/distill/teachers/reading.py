"""A teacher's file as a network: of any of onnxcomp's forms, channels first or last."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import helper

from onnxcomp import intake
from onnxcomp import model as models
from onnxcomp.errors import ModelError
from onnxcomp.graphs import free_name
from onnxcomp.model import LABELS, Model
from onnxcomp.passes.distill.teachers.logits import refuse_probabilities
from onnxcomp.student import student

LAYOUT = "adapt/layout"
"""The node that gives a network of channels last its images."""


def read(path: str | Path) -> Model:
    """The classifier in the file ``path``; its graph bears the path as its name.

    A compression form is cut to its student. An image input (N, H, W, 1 or 3) becomes (N, 1 or 3, H, W),
    behind which a Transpose called :data:`LAYOUT` stands. A last Softmax is still there.

    Raises:
        ModelError: missing, corrupt, not ONNX, no classifier of images, or one that gives probabilities
            by anything else than a last Softmax or LogSoftmax.
    """
    where = str(path)
    proto = intake.read(Path(path))
    _put_channels_first(proto.graph, where)
    model = student(models.from_proto(proto, where=where))
    refuse_probabilities(model, where)
    model.graph.name = where
    return model


def _put_channels_first(graph: onnx.GraphProto, where: str) -> None:
    """Give a graph whose only image is (N, H, W, 1 or 3) an input (N, 1 or 3, H, W), in place.

    Raises:
        ModelError: H or W is free.
    """
    constants = {tensor.name for tensor in graph.initializer}
    images = [entry for entry in graph.input if entry.name not in {LABELS, *constants}]
    if len(images) != 1:
        return
    image = images[0]
    sizes = list(image.type.tensor_type.shape.dim)
    if len(sizes) != 4 or sizes[3].dim_value not in (1, 3) or sizes[1].dim_value in (1, 3):
        return
    if not all(size.dim_value for size in sizes[1:3]):
        channels = sizes[3].dim_value
        raise ModelError(
            f"the height and width of input {image.name} are dynamic",
            where=where,
            fix=(
                "fix them, for example: python -m onnxruntime.tools.make_dynamic_shape_fixed"
                f" --input_name {image.name} --input_shape 1,224,224,{channels} in.onnx out.onnx"
            ),
        )
    taken = {name for node in graph.node for name in (*node.input, *node.output)} | constants
    shape = [sizes[i].dim_value or sizes[i].dim_param or None for i in (0, 3, 1, 2)]
    first = helper.make_tensor_value_info(
        free_name(f"{image.name}_channels_first", taken), image.type.tensor_type.elem_type, shape
    )
    node = helper.make_node("Transpose", [first.name], [image.name], name=LAYOUT, perm=[0, 2, 3, 1])
    kept = list(graph.node)
    graph.value_info.add().CopyFrom(image)
    image.CopyFrom(first)
    del graph.node[:]
    graph.node.extend([node, *kept])
