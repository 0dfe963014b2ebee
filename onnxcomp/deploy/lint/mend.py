"""Mend an ONNX file of any tool for a target, as far as that changes no number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_graphsurgeon as gs

from onnxcomp import intake
from onnxcomp.deploy.lint.arity import check_arity
from onnxcomp.deploy.lint.fixes import FIXES, LAYER_NORM, OPSET
from onnxcomp.deploy.lint.network import quiet
from onnxcomp.deploy.targets import Target
from onnxcomp.errors import ModelError

NEWEST_IR = 10
"""That ONNX Runtime 1.19 reads; TensorRT's parser only logs the number."""


@dataclass(frozen=True)
class Mended:
    """A file's network after the mends.

    Attributes:
        proto: the network.
        done: what was mended, a line each.
        left: what could not be, with its reason.
    """

    proto: onnx.ModelProto
    done: tuple[str, ...]
    left: tuple[str, ...]


def mend(path: Path, target: Target) -> Mended:
    """The network in ``path`` with all mends of :mod:`.fixes` that suit ``target``.

    Raises:
        ModelError: it is not an ONNX file, its data is missing, or its nodes lack inputs.
    """
    proto = intake.read(path)
    check_arity(proto, path)
    left: tuple[str, ...] = ()
    try:
        graph, done = _mended(proto, target, lower=True)
    except ModelError as error:  # half lowered: begin again without
        graph, done = _mended(proto, target, lower=False)
        left = (f"the opset stays {graph.opset}: {error}",)
    with quiet():
        result: onnx.ModelProto = gs.export_onnx(graph, do_type_check=False)
    result.ir_version = min(proto.ir_version, NEWEST_IR)
    for field in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
        setattr(result, field, getattr(proto, field))
    del result.metadata_props[:]
    result.metadata_props.extend(proto.metadata_props)
    return Mended(result, tuple(done), left)


def _mended(proto: onnx.ModelProto, target: Target, *, lower: bool) -> tuple[gs.Graph, list[str]]:
    with quiet():
        graph = gs.import_onnx(onnx.ModelProto.FromString(proto.SerializeToString()))
    fixes = (*FIXES, *((OPSET,) if lower else ()), LAYER_NORM)
    done = []
    for fix in fixes:
        count = fix.apply(graph, target) if fix.suits(target) else 0
        if count:
            done.append(fix.text.format(count))
            graph.cleanup(remove_unused_graph_inputs=False).toposort()
    return graph, done
