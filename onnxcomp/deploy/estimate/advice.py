"""What would change an estimate most: the same work with one thing different."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from onnxcomp.deploy.estimate.roofline import Roof
from onnxcomp.deploy.estimate.work import IMAGE, Stored, Work

LEAST = 0.01
"""Share of the time below which a gain is not worth a line."""


def changes(
    roof: Roof, works: Sequence[Work], batched: Sequence[Work], *, sparse: bool
) -> tuple[tuple[str, float], ...]:
    """Each change with the microseconds of a run that would remain, the largest gain first.

    Args:
        batched: the work of sixteen times the batch; empty where that is not looked at.
    """
    now = _total(roof, works, sparse=sparse)
    floats = [work for work in works if work.macs and work.precision != "INT8"]
    found = [("half the channels everywhere", _total(roof, map_all(works, _halved), sparse=sparse))]
    if floats:
        text = f"INT8 for the {len(floats)} convolutions and products that are float"
        found.append((text, _total(roof, map_all(works, _int8), sparse=sparse)))
    narrow = [work for work in works if work.macs and work != _aligned(work, roof.target.alignment)]
    if narrow:
        text = f"{len(narrow)} layers with channels cut to multiples of {roof.target.alignment}"
        aligned = map_all(works, lambda work: _aligned(work, roof.target.alignment))
        found.append((text, _total(roof, aligned, sparse=sparse)))
    if roof.target.two_four is not None:
        pruned = map_all(works, _two_four)
        wide = [work for work in pruned if roof.is_sparse(work)]
        text = f"2:4 zeros in the {len(wide)} layers of {roof.target.two_four} channels or more"
        if wide and any(not work.two_four for work in works if work.macs):
            found.append((text, _total(roof, pruned, sparse=True)))
    borders = [work for work in works if work.kind == "reformat"]
    if borders:
        text = f"no reformat at a border between types (there are {len(borders)})"
        rest = [work for work in works if work.kind != "reformat"]
        found.append((text, _total(roof, rest, sparse=sparse)))
    if batched:
        found.append(
            ("sixteen times the batch, for each of the runs", _total(roof, batched, sparse=sparse) / 16)
        )
    gained = [(text, us) for text, us in found if us < (1 - LEAST) * now]
    return tuple(sorted(gained, key=lambda each: each[1]))


def map_all(works: Sequence[Work], change: Callable[[Work], Work]) -> list[Work]:
    """Each work changed."""
    return [change(work) for work in works]


def _total(roof: Roof, works: Sequence[Work], *, sparse: bool) -> float:
    return sum(roof.microseconds(work, sparse=sparse) for work in works)


def _halved(work: Work) -> Work:
    work = _resized(work, lambda channels: channels // 2 if channels > IMAGE else channels)
    if work.groups == 1 and work.weights:
        inputs, outputs = max(work.inputs // 2, 1), max(work.outputs // 2, 1)
        macs, weights = work.macs // 4, work.weights // 4
        return dataclasses.replace(work, macs=macs, weights=weights, inputs=inputs, outputs=outputs)
    return dataclasses.replace(work, macs=work.macs // 2, weights=work.weights // 2)


def _int8(work: Work) -> Work:
    if not work.macs:
        return work
    tensors = tuple(tensor._replace(precision="INT8") for tensor in work.tensors)
    return dataclasses.replace(work, precision="INT8", tensors=tensors)


def _aligned(work: Work, step: int) -> Work:
    """Channels rounded down to whole steps, where there is one at least."""

    def fewer(channels: int) -> int:
        return channels // step * step or channels

    if work.macs and (work.groups > 1 or not work.weights):
        return work
    work = _resized(work, fewer)
    if not work.macs:
        return work
    inputs, outputs = fewer(work.inputs), fewer(work.outputs)
    share = inputs * outputs / (work.inputs * work.outputs)
    return dataclasses.replace(
        work, inputs=inputs, outputs=outputs, macs=int(work.macs * share), weights=int(work.weights * share)
    )


def _resized(work: Work, channels: Callable[[int], int]) -> Work:
    """With other numbers of channels in what it reads and writes.

    They are on axis 1 of images and of what convolutions see, else on the last.
    """
    tensors = []
    for shape, precision in work.tensors:
        axis = 1 if len(shape) > 3 or work.kind == "convolution" else len(shape) - 1
        resized = (*shape[:axis], channels(shape[axis]), *shape[axis + 1 :]) if axis > 0 else shape
        tensors.append(Stored(resized, precision))
    return dataclasses.replace(work, tensors=tuple(tensors))


def _two_four(work: Work) -> Work:
    return dataclasses.replace(work, two_four=bool(work.macs))
