"""What a reader of a profile must know, in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from onnxcomp.deploy.profile.layer import Layer
from onnxcomp.deploy.profile.nodes import Held, Names, twice
from onnxcomp.deploy.trtexec.exports.layers import EngineLayers
from onnxcomp.deploy.trtexec.log import Summary

EXAMPLES = 3


def notes_of(
    summary: Summary | None,
    engine: EngineLayers | None,
    layers: Sequence[Layer],
    held: Sequence[Held],
    names: Names | None,
) -> tuple[str, ...]:
    """What is missing or uncertain, the most important first."""
    found = [
        _summary(summary),
        _detail(engine),
        _sum(summary, layers),
        _untimed(layers),
        _sparse(layers),
        _float_outputs(layers),
        *_mapping(layers, held, names),
    ]
    return tuple(note for note in found if note)


def _summary(summary: Summary | None) -> str:
    if summary is None or summary.gpu is None:
        return "trtexec printed no summary: there is no latency of the whole, only times of layers"
    return ""


def _detail(engine: EngineLayers | None) -> str:
    if engine is None or not engine.detailed:
        return (
            "the engine was not built with --profilingVerbosity=detailed: types, kernels and precisions "
            "are not known"
        )
    return ""


def _sum(summary: Summary | None, layers: Sequence[Layer]) -> str:
    total = math.fsum(layer.ms or 0.0 for layer in layers)
    whole = summary.gpu.mean if summary and summary.gpu else None
    if not whole or not total:
        return ""
    return (
        f"the layers add up to {total:.3f} ms, {total / whole:.2f} times the GPU time of a run "
        f"({whole:.3f} ms): each is timed alone; trust their shares, not their sum"
    )


def _untimed(layers: Sequence[Layer]) -> str:
    count = sum(layer.ms is None for layer in layers)
    return f"layers without a time: {count} of {len(layers)}" if count else ""


def _sparse(layers: Sequence[Layer]) -> str:
    eligible = sum(bool(layer.sparse) for layer in layers)
    chosen = sum(bool(layer.sparse_kernel) for layer in layers)
    if eligible and not chosen:
        what = f"{eligible} layers have 2:4 sparse weights and none a sparse kernel"
        return f"{what}: the zeros bring no speed here"
    return ""


def _float_outputs(layers: Sequence[Layer]) -> str:
    names = [layer.name for layer in layers if layer.float_output]
    if not names:
        return ""
    return f"layers that compute in INT8 but write floats, which is slower: {_some(names)}"


def _mapping(layers: Sequence[Layer], held: Sequence[Held], names: Names | None) -> list[str]:
    operators = names.operators if names else {}
    guessed = names is None and any(each.nodes and not each.listed for each in held)
    notes = ["the ONNX file was not at hand: parts of a layer's name may be weights, not nodes"] * guessed
    ends = [layer.name for layer in layers if layer.ends]
    shared = {node for each in held for node in each.nodes if len(operators.get(node, ())) > 1}
    unknown = {name for each in held for name in each.unknown}
    for text, found in (
        ("only the first and last node are known of", ends),
        ("nodes that several layers hold", twice(held)),
        ("names that several nodes of the ONNX file have", sorted(shared)),
        ("names in layers that the ONNX file does not have", sorted(unknown)),
    ):
        if found:
            notes.append(f"{text}: {_some(found)}")
    return notes


def _some(names: Sequence[str]) -> str:
    """The first few, and how many more."""
    shown = ", ".join(names[:EXAMPLES])
    more = len(names) - EXAMPLES
    return f"{shown} and {more} more" if more > 0 else shown
