"""A teacher's weights as they are run: masks multiplied in, BatchNormalization folded."""

from __future__ import annotations

from onnxcomp.fold_bn import fold_bn
from onnxcomp.masks import multiply_masks
from onnxcomp.model import Model

_QUANTIZATION = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
_INTEGER = ("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul")


def fold(model: Model) -> list[str]:
    """Multiply masks in and fold each BatchNormalization that can be, in place; returns notes.

    In a quantised network BatchNormalization stays: folding rounds otherwise by 1e-7, and a value between two
    integers then becomes the other one.
    """
    graph = model.graph
    masks, _ = multiply_masks(graph)
    notes = [f"{masks} masks multiplied into its weights"] if masks else []
    if any(node.op in (*_QUANTIZATION, *_INTEGER) for node in graph.nodes):
        return notes
    folds = fold_bn(graph)
    if folds.folded:
        kept = f", {len(folds.kept)} stay" if folds.kept else ""
        notes.append(f"{len(folds.folded)} BatchNormalization folded{kept}")
    return notes
