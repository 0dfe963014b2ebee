"""From a finalized network with Q/DQ to the form for the DLA."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.deploy.dla import propagate
from onnxcomp.deploy.dla.files import calibration_text, precisions_text
from onnxcomp.deploy.integer.means import use_pooling
from onnxcomp.deploy.targets import Target
from onnxcomp.shapes import shapes

LEVELS = 127
WINDOW = 8  # the largest pooling window of the DLA (Developer Guide 8.5, 12.1)
UNARY_SINCE = (8, 6)  # JetPack 6, whose DLA software is 3.14
FUSED = ("Clip", "Relu")
SHAPES = ("Constant", "Shape", "Gather", "Slice")


@dataclass(frozen=True)
class Dla:
    """What is written beside the ONNX file, and what the user should know of it.

    Attributes:
        tensorrt: version that is to read the cache.
        scales: by the tensor's name: ``max |x| / 127``.
        pairs: Q/DQ pairs of activations that were removed.
        raised: tensors whose scale is now larger than that of their pair, and by which factor, because
            pooling and Concat want equal scales.
        apart: pooling and Concat whose scales would have become more than twice as large; they keep theirs.
        unscaled: tensors without a scale.
        left: layers left float on purpose, whose weights have no pair, with the Relu or Clip behind them.
        fp16: layers that run in FP16: ``apart``, ``left``, and those that read or write a tensor without a
            scale ("Missing scale and zero-point for tensor ..., expect fall back to non-int8 implementation
            for any layer consuming or producing given tensor", TensorRT's log).
        layers: all layers.
        coarser: output channels of quantised weights of which no integer is 127 or -127. TensorRT gives them
            a scale of their own, so these weights are rounded anew.
        pools: GlobalAveragePool that became AveragePool, which the DLA has up to 8x8.
    """

    tensorrt: tuple[int, int, int]
    scales: dict[str, float]
    pairs: int
    raised: dict[str, float]
    apart: tuple[str, ...]
    unscaled: tuple[str, ...]
    left: tuple[str, ...]
    fp16: tuple[str, ...]
    layers: int
    coarser: int
    pools: int

    @property
    def calibration(self) -> str:
        """Text of the calibration cache."""
        return calibration_text(self.scales, self.tensorrt)

    @property
    def precisions(self) -> str:
        """Value of ``--layerPrecisions``."""
        return precisions_text(self.fp16)

    def lines(self) -> list[str]:
        """What was done, in lines for the console."""
        count = f"scales of {len(self.scales)} tensors from {self.pairs} Q/DQ pairs, which are gone"
        found = [f"{count}; {self.layers - len(self.fp16)} of {self.layers} layers in INT8"]
        if self.fp16:
            found.append(f"  FP16: {len(self.fp16)} layers ({_some(self.fp16)})")
        if self.unscaled:
            found.append(f"  because {len(self.unscaled)} tensors have no scale ({_some(self.unscaled)})")
        if self.apart:
            found.append(f"  {len(self.apart)} of them would need equal scales ({_some(self.apart)})")
        if self.left and self.pairs:
            found.append(f"  {len(self.left)} of them are left float ({_some(self.left)})")
        if self.raised:
            factor = max(self.raised.values())
            text = f"  {len(self.raised)} scales made larger, up to {factor:.3g} times"
            found.append(f"{text}: pooling and Concat want equal ones ({_some(tuple(self.raised))})")
        if self.coarser:
            found.append(
                f"  {self.coarser:,} output channels of weights reach no 127: TensorRT rounds them anew"
            )
        if self.pools:
            found.append(f"  {self.pools} GlobalAveragePool became AveragePool, which the DLA has")
        return found


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def dla_form(graph: gs.Graph, target: Target) -> Dla:
    """Take the Q/DQ pairs out of ``graph``, in place, and find a scale for all tensors that can have one.

    Weights must be float32 constants in front of their pairs, and are what these make of them afterwards.
    A network without pairs gets no scales.
    """
    assert target.tensorrt is not None
    coarser, floats = _coarser(graph), _floats(graph)
    known, pairs = _remove_pairs(graph)
    use_pooling(graph)
    pools = _pool_by_windows(graph)
    _simplify_names(graph)
    scales, apart = propagate.propagate(graph, known)
    if target.tensorrt >= UNARY_SINCE:
        scales |= propagate.unary(graph, scales, floats)
    raised = {name: scales[name] / old for name, old in known.items() if scales[name] > old}
    unscaled = [tensor for tensor in _activations(graph) if tensor.name not in scales]
    layers = [node for node in graph.nodes if _is_layer(node)]
    lost = {tensor.name for tensor in unscaled}
    left = [node.name for node in layers if id(node) in floats]
    chosen = {*apart, *left}
    fp16 = [
        n.name for n in layers if n.name in chosen or any(t.name in lost for t in (*n.inputs, *n.outputs))
    ]
    return Dla(
        tensorrt=target.tensorrt,
        scales={t.name: scales[t.name] for t in _activations(graph) if t.name in scales},
        pairs=pairs,
        raised=raised,
        apart=tuple(apart),
        unscaled=tuple(tensor.name for tensor in unscaled),
        left=tuple(left),
        fp16=tuple(fp16),
        layers=len(layers),
        coarser=coarser,
        pools=pools,
    )


def _floats(graph: gs.Graph) -> set[int]:
    """Ids of the layers whose weights have no pair, and of the Relu or Clip that is computed with each.

    Their tensors have scales all the same where other nodes read or write them quantised.
    """
    found = set()
    for weight in graphs.weights(graph):
        if not weight.node.inputs[weight.index].inputs:
            found.add(id(weight.node))
            readers = weight.node.outputs[0].outputs
            found.update(id(node) for node in readers if len(readers) == 1 and node.op in FUSED)
    return found


def _activations(graph: gs.Graph) -> list[gs.Tensor]:
    """Float inputs of the network, and what its layers compute, in the order of the graph."""
    inputs = [tensor for tensor in graph.inputs if propagate.is_activation(tensor)]
    computed = [t for n in graph.nodes if _is_layer(n) for t in n.outputs if propagate.is_activation(t)]
    return inputs + computed


def _is_layer(node: gs.Node) -> bool:
    return node.op not in SHAPES and propagate.is_float(node.outputs[0])


def _pool_by_windows(graph: gs.Graph) -> int:
    """Replace GlobalAveragePool by AveragePool where the DLA has its window; returns how many."""
    fixed, count = shapes(graph).fixed, 0
    for node in graph.nodes:
        window = fixed.get(node.inputs[0].name, ())[2:] if node.op == "GlobalAveragePool" else ()
        if len(window) == 2 and all(size is not None and size <= WINDOW for size in window):
            node.op = "AveragePool"
            node.attrs["kernel_shape"] = list(window)
            count += 1
    return count


def _coarser(graph: gs.Graph) -> int:
    """Output channels whose scale TensorRT cannot find again: ``max |w| / scale`` is not 127, nor 0."""
    count = 0
    for pair in graphs.quantizers(graph):
        if not isinstance(pair.source, gs.Constant):
            continue
        values = np.abs(pair.source.values)
        others = tuple(i for i in range(values.ndim) if not pair.per_channel or i != pair.axis % values.ndim)
        levels = np.rint(values.max(axis=others) / pair.scale.values.reshape(-1))
        count += int(((levels != LEVELS) & (levels != 0)).sum())
    return count


def _remove_pairs(graph: gs.Graph) -> tuple[dict[str, float], int]:
    """Let all that read through a pair read what it quantised; returns scales by tensor, and the pairs.

    Of several pairs of one tensor, also one behind the other, the largest scale stays.
    """
    scales: dict[str, float] = {}
    for pair in list(graphs.quantizers(graph)):
        source, output, scale = pair.source, pair.dequantize.outputs[0], pair.scale.values
        if not isinstance(source, gs.Constant):
            scales[source.name] = max(float(scale.reshape(())), scales.get(source.name, 0.0))
        graphs.rewire(output, source, list(output.outputs))
        if any(output is tensor for tensor in graph.outputs):
            pair.dequantize.op, pair.dequantize.attrs = "Identity", {}
            pair.dequantize.inputs = [source]
        else:
            pair.dequantize.outputs.clear()
    count = sum(node.op == "QuantizeLinear" and not _of_weight(node) for node in graph.nodes)
    graph.cleanup(remove_unused_graph_inputs=False).toposort()
    return scales, count


def _of_weight(node: gs.Node) -> bool:
    return isinstance(node.inputs[0], gs.Constant)


def _simplify_names(graph: gs.Graph) -> None:
    """Take out of the nodes' names what separates them in ``--layerPrecisions``."""
    taken = {node.name for node in graph.nodes}
    for node in graph.nodes:
        plain = re.sub(r"[,:\s]", "_", node.name)
        if plain != node.name:
            node.name = graphs.free_name(plain, taken)
