"""A layer's time beside what the layer is: two files of trtexec that know each other by names alone."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence

from onnxcomp.deploy.trtexec.exports.layer_times import LayerTime
from onnxcomp.deploy.trtexec.exports.layers import LayerInfo

Pair = tuple[LayerTime | None, LayerInfo]


def join(times: Sequence[LayerTime], layers: Sequence[LayerInfo]) -> list[Pair]:
    """Each layer with its time, in the order of ``times``; then the layers that have none.

    They belong together by name, those of the same name in their order. A time whose name no layer has
    belongs to the layer at its place, where both files are of one length and that layer's name has no time;
    otherwise it gets a layer of which only the name is known.
    """
    waiting: dict[str, deque[int]] = defaultdict(deque)
    for index, layer in enumerate(layers):
        waiting[layer.name].append(index)
    found = [waiting[each.name].popleft() if waiting[each.name] else None for each in times]
    left = {index for indices in waiting.values() for index in indices}
    if len(times) == len(layers):
        found = [place if index is None and place in left else index for place, index in enumerate(found)]
    left -= {index for index in found if index is not None}
    timed: list[Pair] = [
        (time, LayerInfo(time.name) if index is None else layers[index])
        for time, index in zip(times, found, strict=True)
    ]
    return [*timed, *((None, layers[index]) for index in sorted(left))]
