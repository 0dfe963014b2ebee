"""What zeros and cut channels bring: the facts of a file, and what each target makes of them.

No known target skips a zero for being a zero. Work is saved for certain only by channels that are not
there any more. A 2:4 pattern may halve the work of a layer where the hardware can use it, and there
TensorRT decides layer by layer, by timing a sparse and a dense kernel while it builds ("TRT tries both
sparse and dense tactics and choose a faster one", NVIDIA's engineers in TensorRT issue 3849). By their
rule of thumb that needs 256 input and 256 output channels (issue 4065), which on DenseNet201 two of
200 convolutions have: the transitions 512 -> 256 and 1792 -> 896.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from onnxcomp.deploy.targets import Target
from onnxcomp.report.layers import Layer
from onnxcomp.report.zeros import PATTERNS


@dataclass(frozen=True)
class Cut:
    """What the cut of channels has taken away so far.

    Attributes:
        macs: multiply-accumulates for one image; None where those left are unknown.
        parameters: elements of the weights, as ``Accounting.weights`` counts them.
        macs_before, parameters_before: of the network before.
    """

    macs: int | None
    parameters: int
    macs_before: int
    parameters_before: int


@dataclass(frozen=True)
class Savings:
    """What one target makes of a file.

    Attributes:
        target: its name.
        macs_saved: multiply-accumulates for one image that the target does not do, for certain: those of
            channels that were cut. Zeros add none.
        macs_saved_at_most: the same where every layer of ``considered`` ran a 2:4 kernel, which does
            half the work. Both are None where a shape is unknown.
        alignment: of the target.
        unaligned: layers of which a number of channels is no multiple of ``alignment``.
        wide: layers in which the target would consider a 2:4 pattern: see :func:`is_wide`. Empty where
            the hardware has no use for one.
        considered: those of them that have the pattern.
    """

    target: str
    macs_saved: int | None
    macs_saved_at_most: int | None
    alignment: int
    unaligned: tuple[str, ...]
    wide: tuple[str, ...]
    considered: tuple[str, ...]


@dataclass(frozen=True)
class Accounting:
    """The zeros and cuts of a file, and what they bring.

    Attributes:
        weights: elements of the weights of Conv, ConvTranspose, Gemm and MatMul; a shared one counts once.
        zeros: those of them that are 0, through the mask.
        patterns: number of layers by pattern, see :class:`onnxcomp.report.zeros.Zeros`.
        two_four: number of layers in which the 2:4 pattern holds, whatever else does.
        dead_outputs: output channels, over all layers, whose weights are all 0: still computed.
        dead_inputs: input channels, over all layers, that are read with 0 alone.
        macs_of_zeros: multiply-accumulates for one image that multiply with a zero weight: what an ideal
            machine would skip and the targets do; None where a shape is unknown.
        cut: None where no pass cut channels.
        targets: by name.
    """

    weights: int
    zeros: int
    patterns: dict[str, int]
    two_four: int
    dead_outputs: int
    dead_inputs: int
    macs_of_zeros: int | None
    cut: Cut | None
    targets: dict[str, Savings]


def account(layers: list[Layer], given: Mapping[str, float], targets: Iterable[Target]) -> Accounting:
    """Account for a network of these layers.

    Args:
        given: see :class:`onnxcomp.model.Model`.
    """
    once = {layer.tensor: layer for layer in layers}.values()
    weights = sum(layer.size for layer in once)
    cut = _cut(given, total(layer.macs for layer in layers), weights)
    counts = Counter(layer.pattern for layer in layers)
    return Accounting(
        weights=weights,
        zeros=sum(layer.zeros for layer in once),
        patterns={pattern: counts[pattern] for pattern in PATTERNS},
        two_four=sum(layer.two_four for layer in layers),
        dead_outputs=sum(layer.dead_outputs for layer in layers),
        dead_inputs=sum(layer.dead_inputs for layer in layers),
        macs_of_zeros=total(_macs_of_zeros(layer) for layer in layers),
        cut=cut,
        targets={target.name: _savings(layers, target, 0 if cut is None else cut.macs) for target in targets},
    )


def is_wide(layer: Layer, target: Target) -> bool:
    """Whether the target would consider a sparse kernel for the layer if it had the 2:4 pattern.

    By rule, not by measurement: see :attr:`onnxcomp.deploy.targets.Target.two_four`.
    """
    least = target.two_four
    wide = least is not None and min(layer.inputs, layer.outputs) >= least
    return wide and layer.groups == 1 and layer.inputs % 4 == 0


def total(counts: Iterable[int | None]) -> int | None:
    """The sum, or None where one is unknown."""
    found = list(counts)
    known = [count for count in found if count is not None]
    return sum(known) if len(known) == len(found) else None


def _cut(given: Mapping[str, float], macs: int | None, weights: int) -> Cut | None:
    if not given.keys() >= {"macs", "parameters"}:
        return None
    before, stored = int(given["macs"]), int(given["parameters"])
    return Cut(None if macs is None else before - macs, stored - weights, before, stored)


def _macs_of_zeros(layer: Layer) -> int | None:
    # Each element of a weight is used equally often.
    return None if layer.macs is None else layer.macs * layer.zeros // layer.size


def _savings(layers: list[Layer], target: Target, cut: int | None) -> Savings:
    wide = [layer for layer in layers if is_wide(layer, target)]
    considered = [layer for layer in wide if layer.two_four]
    halves = total(None if layer.macs is None else layer.macs // 2 for layer in considered)
    return Savings(
        target=target.name,
        macs_saved=cut,
        macs_saved_at_most=total((cut, halves)),
        alignment=target.alignment,
        unaligned=tuple(layer.name for layer in layers if not layer.is_aligned(target.alignment)),
        wide=tuple(layer.name for layer in wide),
        considered=tuple(layer.name for layer in considered),
    )
