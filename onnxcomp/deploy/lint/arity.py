"""Whether each standard node has the inputs that its ONNX schema asks for."""

from __future__ import annotations

from pathlib import Path

import onnx

from onnxcomp.errors import ModelError
from onnxcomp.visible import visible

STANDARD = ("", "ai.onnx")


def check_arity(proto: onnx.ModelProto, path: Path) -> None:
    """Refuse a damaged network. Operators that this onnx does not know are left to the rules.

    Raises:
        ModelError: a node has too few or too many inputs, or lacks one that is not optional.
    """
    opset = next((e.version for e in proto.opset_import if e.domain in STANDARD), 0)
    for node in proto.graph.node:
        if node.domain not in STANDARD or not onnx.defs.has(node.op_type):
            continue
        try:
            schema = onnx.defs.get_schema(node.op_type, opset)
        except onnx.defs.SchemaError:  # of a newer or an older opset
            continue
        least, most = schema.min_input, schema.max_input
        there = len(node.input) - list(node.input[:least]).count("")
        if not least <= there <= most:
            takes = f"{node.op_type} takes {least}" + (f" to {most}" if most > least else "")
            raise ModelError(
                f"{visible(node.name) or 'a node'} has {there} inputs, and {takes}",
                where=str(path),
                fix="export the model again",
            )
