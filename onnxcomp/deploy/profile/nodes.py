"""Which ONNX nodes a layer of an engine holds.

From 8.6 on a layer's Metadata lists them (``[ONNX Layer: name]``). Before that there is only its name, put
together from those of the nodes and weights that were fused: ``conv1.weight + QuantizeLinear_7 + Conv_9``,
``Conv_1 || Conv_2`` for two that run as one, ``PWN(Sigmoid_1, Mul_2)`` for elementwise ones,
``{ForeignNode[a...b]}`` for all from a to b. The parser calls an unnamed node ``node_of_`` and its first
output (``getNodeName`` in onnx2trt_utils.cpp of onnx-tensorrt). Names are taken where they are exact, never
guessed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import onnx

from onnxcomp.deploy.trtexec.exports.layers import LayerInfo

REFORMAT = re.compile(r"Reformatting CopyNode for (?:Input|Output) Tensor \d{1,9} to ")
REFORMATTER = re.compile(r" (?:input|output) reformatter \d{1,9}\Z")
RANGE = re.compile(r"\{ForeignNode\[(.*?)(?:\.\.\.(.*))?\]\}\Z", re.DOTALL)
SEPARATOR = re.compile(r" \+ | \|\| |, ?")
ELEMENTWISE = "PWN("
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
LONGEST = 8
"""A node's name is looked for in up to this many parts, for it may hold a separator itself."""
MADE_BY_TENSORRT = (
    "(Unnamed Layer*",
    "copied_squeeze_after_",
    "squeeze_after_",
    "unsqueeze_node_after_",
    "unsqueeze_after_",
    "reshape_before_",
    "reshape_after_",
    "__my",
    "[",
)


@dataclass(frozen=True)
class Names:
    """The names in an ONNX file.

    Attributes:
        operators: by the name of the node as TensorRT's parser calls it; several where nodes share a name.
        tensors: all others.
    """

    operators: Mapping[str, tuple[str, ...]]
    tensors: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Held:
    """What is known of a layer's nodes.

    Attributes:
        nodes: names of those it holds; none for a reformat that TensorRT added.
        beside: for such a reformat, the nodes of the layer that it serves.
        ends: whether ``nodes`` are only the first and the last of those it holds.
        unknown: parts of its name that are no node, no tensor and nothing that TensorRT is known to add.
        listed: whether TensorRT listed the nodes; otherwise they are parts of the layer's name.
    """

    nodes: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    ends: bool = False
    unknown: tuple[str, ...] = ()
    listed: bool = False


def names(proto: onnx.ModelProto) -> Names:
    """The names in an ONNX file, as TensorRT's parser uses them."""
    operators: dict[str, tuple[str, ...]] = {}
    tensors = {each.name for each in (*proto.graph.initializer, *proto.graph.input)}
    for node in proto.graph.node:
        name = parsed_name(node.name, node.output[0] if node.output else "")
        operators[name] = (*operators.get(name, ()), node.op_type)
        tensors.update(node.output)
    return Names(operators, frozenset(tensors - operators.keys()))


def parsed_name(name: str, output: str) -> str:
    """What TensorRT's parser calls a node of this name and first output."""
    return name or (f"node_of_{output}" if output else "")


def held(layer: LayerInfo, known: Names | None = None) -> Held:
    """The nodes of a layer.

    Args:
        known: names in the file that the engine was built of; without it, parts of a fused name cannot be
            told from names of weights, and all are taken for nodes.
    """
    name = REFORMATTER.sub("", layer.name)
    start = REFORMAT.match(name)
    if start or name != layer.name:
        found = _held(name[start.end() if start else 0 :], None, known)
        return Held(beside=found.nodes)
    return _held(name, layer.onnx or None, known)


def main(nodes: Sequence[str], known: Names | None = None) -> str:
    """The node that does the work of a layer: a convolution or a product, else the first but for Q and DQ."""
    operators = {node: known.operators.get(node, ("",))[0] if known else "" for node in nodes}
    for wanted in (PRODUCTS, set(operators.values()) - set(QUANTIZERS)):
        for node, operator in operators.items():
            if operator in wanted:
                return node
    return nodes[0] if nodes else ""


def twice(layers: Sequence[Held]) -> tuple[str, ...]:
    """Nodes that several layers hold."""
    count = Counter(node for each in layers for node in each.nodes)
    return tuple(node for node, number in count.items() if number > 1)


def _held(name: str, listed: tuple[str, ...] | None, known: Names | None) -> Held:
    if listed is not None:
        exact = [each for each in listed if known is None or each in known.operators]
        unknown = tuple(each for each in listed if each not in exact)
        return Held(tuple(exact), unknown=unknown, listed=True)
    span = RANGE.match(name)
    parts = [each for each in span.groups() if each] if span else list(_parts(name, known))
    nodes: list[str] = []
    unsaid: list[str] = []
    for part in dict.fromkeys(parts):
        if known and part in known.operators:
            nodes.append(part)
        elif not part.startswith(MADE_BY_TENSORRT) and not (known and part in known.tensors):
            (unsaid if known else nodes).append(part)
    return Held(tuple(nodes), ends=span is not None and span[2] is not None, unknown=tuple(unsaid))


def _parts(name: str, known: Names | None) -> Iterator[str]:
    """What a fused name is put together from; longest known names first, since they may hold ``" + "``."""
    bounds = [0]
    for found in SEPARATOR.finditer(name):
        bounds += [found.start(), found.end()]
    bounds.append(len(name))
    spans = list(zip(bounds[::2], bounds[1::2], strict=True))
    at = 0
    while at < len(spans):
        for last in range(min(at + LONGEST, len(spans)) - 1, at - 1, -1):
            part = _unwrapped(name[spans[at][0] : spans[last][1]])
            if last == at or (known is not None and (part in known.operators or part in known.tensors)):
                break
        at = last + 1
        if part:
            yield part


def _unwrapped(part: str) -> str:
    """Without ``PWN(`` before and the brackets that close such after it."""
    while part.startswith(ELEMENTWISE):
        part = part[len(ELEMENTWISE) :]
    surplus = part.count(")") - part.count("(")
    while surplus > 0 and part.endswith(")"):
        part, surplus = part[:-1], surplus - 1
    return part.strip()
