"""From Q/DQ pairs around operators to operators on integers."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_graphsurgeon as gs

from onnxcomp.deploy import axes
from onnxcomp.deploy.integer.activations import drop_activations
from onnxcomp.deploy.integer.batch_norm import use_convolutions
from onnxcomp.deploy.integer.bias import quantize_biases
from onnxcomp.deploy.integer.gemm import use_gemm
from onnxcomp.deploy.integer.growth import grow
from onnxcomp.deploy.integer.means import use_pooling
from onnxcomp.deploy.integer.moves import move_integers


@dataclass(frozen=True)
class Integer:
    """What :func:`integer_form` did.

    Attributes:
        activations: Relu and Clip that the pair behind them does, or a Clip of integers.
        convolutions: standalone BatchNormalization that are depthwise convolutions now.
        biases: in INT32.
        moved: operators that move integers where they moved floats.
        grown: Concats that start from an earlier one.
        kept: name of a node that could not be rewritten, and why.
    """

    activations: int
    convolutions: int
    biases: int
    moved: int
    grown: int
    kept: tuple[tuple[str, str], ...]


def integer_form(graph: gs.Graph) -> Integer:
    """Rewrite in place.

    BatchNormalization behind convolutions must be folded, masks multiplied in, and weights INT8 constants ->
    DequantizeLinear. With Q/DQ computed in float32, as by ``session.disable_quant_qdq``, only biases and
    BatchNormalization answer otherwise than before, by the rounding of their constants, and means over
    height and width, by that of float32. That moves a value by one step of its pair where it lies close
    enough to the middle of two.

    Args:
        graph: with UINT8 pairs on activations, one of them on each tensor.
    """
    axes.expand(graph)
    use_pooling(graph)
    activations = drop_activations(graph)
    convolutions, kept_norms = use_convolutions(graph)
    use_gemm(graph)
    biases, kept_biases = quantize_biases(graph)
    moved = move_integers(graph)
    grown = grow(graph)
    graph.cleanup(remove_unused_graph_inputs=False).toposort()
    return Integer(activations, convolutions, biases, moved, grown, (*kept_norms, *kept_biases))
