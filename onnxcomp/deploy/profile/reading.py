"""trtexec's files put together: the time of each layer, what it is, and the ONNX nodes that it holds."""

from __future__ import annotations

import math

from onnxcomp.deploy.profile import nodes as onnx_nodes
from onnxcomp.deploy.profile.join import Pair, join
from onnxcomp.deploy.profile.layer import Layer, totals_of
from onnxcomp.deploy.profile.notes import notes_of
from onnxcomp.deploy.profile.precision import (
    has_sparse_kernel,
    is_float_output,
    is_reformat,
    multiplies,
    precision,
)
from onnxcomp.deploy.profile.profile import FORMAT, Conditions, Profile
from onnxcomp.deploy.trtexec.exports import runs as measured
from onnxcomp.deploy.trtexec.exports.layer_times import LayerTimes
from onnxcomp.deploy.trtexec.exports.layers import EngineLayers, Tensor
from onnxcomp.deploy.trtexec.log import Summary


def read(
    summary: Summary | None,
    profile: LayerTimes | None,
    layers: EngineLayers | None,
    runs: measured.Runs | None = None,
    names: onnx_nodes.Names | None = None,
    conditions: Conditions | None = None,
) -> Profile:
    """What trtexec's files tell together.

    Args:
        summary: from its log; where it printed none, or an incomplete one, ``runs`` give it.
        profile: the time of each layer; None leaves the layers without.
        layers: what each layer is; None leaves only the names in ``profile``.
        runs: the time of each run.
        names: those in the ONNX file that the engine was built of.
        conditions: under what it was measured.
    """
    pairs = join(profile.layers if profile else (), layers.layers if layers else ())
    total = math.fsum(time.mean or 0.0 for time, _ in pairs if time)
    held = [onnx_nodes.held(info, names) for _, info in pairs]
    main = [onnx_nodes.main(each.nodes, names) for each in held]
    found = tuple(_layer(*each, total) for each in zip(pairs, held, main, strict=True))
    whole = summary if summary and summary.gpu and summary.latency else None
    whole = whole or (measured.summary(runs) if runs else None) or summary
    totals = totals_of(found)
    notes = notes_of(whole, layers, found, held, names)
    return Profile(FORMAT, conditions or Conditions(), whole, found, totals, notes)


def _layer(pair: Pair, held: onnx_nodes.Held, main: str, total: float) -> Layer:
    time, info = pair
    ms = time.mean if time else None
    return Layer(
        name=time.name if time else info.name,
        kind=info.kind,
        ms=ms,
        median_ms=time.median if time else None,
        share=ms / total if ms is not None and total else None,
        precision=precision(info),
        reads=_format(info.inputs),
        writes=_format(info.outputs),
        shape=info.outputs[0].shape if info.outputs else (),
        nodes=held.nodes,
        beside=held.beside,
        main=main,
        ends=held.ends,
        tactic=info.tactic,
        multiplies=multiplies(info),
        reformat=is_reformat(info),
        float_output=is_float_output(info),
        sparse=info.sparse_weights,
        sparse_kernel=has_sparse_kernel(info) if multiplies(info) else None,
    )


def _format(tensors: tuple[Tensor, ...]) -> str:
    return tensors[0].format if tensors else ""
