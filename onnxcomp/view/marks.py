"""What a viewer shows at a node: which pass added it, its role and numbers; and the zeros of each layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnxcomp import graphs
from onnxcomp.model import Model, Role
from onnxcomp.origin import SAYS, Origin, origin
from onnxcomp.report.layers import Layer, layers

ONLY_IN_TRAINING = (
    "teacher",
    "teacher's side of loss",
    "connector of loss",
    "loss",
    "task loss",
    "total loss",
)


@dataclass(frozen=True)
class Mark:
    """What is said of one node.

    Attributes:
        text: one line.
        facts: the same as pairs: ``pass``, ``role``, ``of``, ``sparsity``, ``scale``, ``zero point``, ...
    """

    text: str
    facts: dict[str, str] = field(default_factory=dict)


def marks(model: Model) -> dict[str, Mark]:
    """The marks of the nodes that passes added, and of the student's weighted layers, by name of the node."""
    found = {layer.name: _of_layer(layer) for layer in layers(model)}
    for node in model.graph.nodes:
        source = origin(node.name, node.op)
        if source is not None:
            found[node.name] = _of_added(node, source, model)
    return found


def _of_layer(layer: Layer) -> Mark:
    facts = {
        "role": "layer",
        "sparsity": f"{layer.sparsity:.1f} %",
        "zeros": f"{layer.zeros:,} of {layer.size:,}, {layer.pattern}",
        "precision": layer.precision,
        "parameters": f"{layer.parameters:,}",
        "MACs per image": "unknown" if layer.macs is None else f"{layer.macs:,}",
    }
    return Mark(f"layer: {facts['sparsity']} zeros, {layer.precision}, {facts['MACs per image']} MACs", facts)


def _of_added(node: gs.Node, source: Origin, model: Model) -> Mark:
    facts = (
        _mask(node, model) if source.step == "prune" else _pair(node, model) if source.step == "qat" else {}
    )
    if node.outputs and node.outputs[0].name in model.losses:
        facts["weight in the loss"] = f"{model.losses[node.outputs[0].name]:g}"
    if source.role in ONLY_IN_TRAINING:
        facts["gone after"] = "finalize"
    said = "".join(f"; {name} {value}" for name, value in facts.items())
    named = {"pass": source.step, "role": source.role.removesuffix(" of"), "of": source.of}
    return Mark(f"{source}{said}", {name: text for name, text in named.items() if text} | facts)


def _mask(node: gs.Node, model: Model) -> dict[str, str]:
    mask = graphs.mask_of(node)
    if mask is None:
        return {}
    zeros = mask.values.size - int(np.count_nonzero(mask.values))
    facts = {
        "sparsity": f"{100 * zeros / max(mask.values.size, 1):.1f} %",
        "zeros": f"{zeros:,} of {mask.values.size:,}",
    }
    goal = model.sparsities.get(node.inputs[0].name)
    return facts if goal is None else {**facts, "sparsity at the end": f"{100 * goal:.1f} %"}


def _pair(node: gs.Node, model: Model) -> dict[str, str]:
    scale, *zero = (tensor for tensor in node.inputs[1:3])
    if not isinstance(scale, gs.Constant):
        return {}
    facts = {"scale": _numbers(scale.values)}
    if zero and isinstance(zero[0], gs.Constant):
        facts |= {"zero point": _numbers(zero[0].values), "type": str(zero[0].values.dtype)}
    if scale.values.size > 1:
        facts["channels"] = f"{scale.values.size} along axis {int(node.attrs.get('axis', 1))}"
    if model.roles.get(scale.name) is Role.LEARNED_SCALE:
        facts["the scale is"] = "learned"
    return facts


def _numbers(values: NDArray[np.generic]) -> str:
    """One value, or the range of several."""
    if not values.size:
        return "none"
    low, high = float(np.min(values.astype(np.float64))), float(np.max(values.astype(np.float64)))
    return f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"


def annotate(proto: onnx.ModelProto, found: Mapping[str, Mark]) -> None:
    """Write marks into the nodes of ``proto``, in place: a line of ``doc_string``, and ``metadata_props``.

    Args:
        proto: as it was read from the file; its nodes may have no names.
        found: of the network that :func:`onnxcomp.model.from_proto` makes of it.
    """
    taken: set[str] = set()
    for node in proto.graph.node:
        # As reading a file names and renames nodes: see onnxcomp.tidy and onnxcomp.model.
        outputs = (name for name in node.output if name)
        name = graphs.free_name(node.name or next(outputs, node.op_type), taken)
        mark = found.get(name) or found.get(f"model/{name}")
        if mark is None:
            continue
        own = "" if node.doc_string.startswith(SAYS) else node.doc_string
        node.doc_string = "\n".join(filter(None, (own, f"{SAYS}{mark.text}")))
        for key, text in mark.facts.items():
            node.metadata_props.add(key=key, value=text)
