"""ONNX shape inference, also past an operator at which it stops."""

from __future__ import annotations

import onnx
import onnx_graphsurgeon as gs

SILENT, ALIKE = "GroupNormalization", "InstanceNormalization"


def infer_shapes(
    proto: onnx.ModelProto, *, check_type: bool = False, strict_mode: bool = False, data_prop: bool = False
) -> onnx.ModelProto:
    """:func:`onnx.shape_inference.infer_shapes`, for which see there.

    The schema of GroupNormalization infers nothing (onnx 1.23), and what comes behind would have no shape. It
    has the inputs and the output of InstanceNormalization, as which it is looked at; in the end ``proto`` is
    as it was.

    Raises:
        onnx.shape_inference.InferenceError: as there.
    """
    places = [
        index
        for index, node in enumerate(proto.graph.node)
        if node.op_type == SILENT and node.domain in ("", "ai.onnx")
    ]
    _call(proto, places, ALIKE)
    try:
        done: onnx.ModelProto = onnx.shape_inference.infer_shapes(
            proto, check_type=check_type, strict_mode=strict_mode, data_prop=data_prop
        )
    finally:
        _call(proto, places, SILENT)
    _call(done, places, SILENT)
    return done


def _call(proto: onnx.ModelProto, places: list[int], op: str) -> None:
    for index in places:
        proto.graph.node[index].op_type = op


def fill(graph: gs.Graph) -> None:
    """Fill in the shape and type of every tensor from those of the inputs (standard operators only)."""
    proto = gs.export_onnx(graph, do_type_check=False)
    del proto.graph.value_info[:]
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = infer_shapes(proto, data_prop=True)
    tensors = graph.tensors()
    for info in [*inferred.graph.value_info, *inferred.graph.output]:
        tensor = tensors.get(info.name)
        if isinstance(tensor, gs.Variable):
            kind = info.type.tensor_type
            tensor.dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
            tensor.shape = (
                [d.dim_value if d.HasField("dim_value") else d.dim_param for d in kind.shape.dim]
                if kind.HasField("shape")
                else None
            )
