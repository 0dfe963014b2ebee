"""The pass ``qat``: QuantizeLinear/DequantizeLinear where the target's runtime wants them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from onnxcomp import graphs
from onnxcomp.model import Model
from onnxcomp.passes.base import Change, Context, Names, Pass, unmatched
from onnxcomp.passes.qat import concats
from onnxcomp.passes.qat.adaround import round_weights
from onnxcomp.passes.qat.bias_correction import correct_bias
from onnxcomp.passes.qat.equalize import equalize
from onnxcomp.passes.qat.mixed import leave_float
from onnxcomp.passes.qat.partial import layers
from onnxcomp.passes.qat.placement import ConcatMode, Placement, Switches, place
from onnxcomp.passes.qat.quantize import quantize
from onnxcomp.passes.qat.reestimate import reestimate
from onnxcomp.passes.qat.scales import Method

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Qat(Pass):
    """Fake-quantise weights, per output channel, and activations, per tensor.

    Applied and finalised it is post-training quantisation; trained in between, quantisation-aware
    training. Weights are symmetric INT8. Activations are symmetric INT8 with a zero point of 0 where the
    target is TensorRT, UINT8 with a zero point where it is ONNX Runtime on a CPU. Biases and
    BatchNormalization stay float32; `finalize` folds what follows a convolution. Where pairs stand is decided
    by :mod:`onnxcomp.passes.qat.placement`.

    Attributes:
        placement: ``tensorrt`` or ``ort-cpu``; ``auto``: as the target wants, ``tensorrt`` without one.
        calibration: how an activation's range is found from real data.
        percentile: of the absolute values, for ``calibration=percentile``.
        weights: weight scales, so that none clips (``max``) or of least squared error (``mse``).
        weight_bits: levels of weights: ``2^(bits-1) - 1`` of each sign, in INT8 integers.
        concat: inputs of Concats of channels with one scale for all that meet (``shared``), one each
            (``each``) or no pair for their sake (``none``); ``measured``: see
            :mod:`onnxcomp.passes.qat.concats`; ``auto``: ``shared`` for ONNX Runtime on a CPU, where
            a Concat is then a plain copy, else ``none``.
        residual, pooling, pre_activation, first, last, depthwise, tiny: see
            :class:`onnxcomp.passes.qat.placement.Switches`.
        exclude: patterns (as in a shell) of weight or node names to leave float.
        equalize: scale channels so that they share a scale at less cost; see
            :mod:`onnxcomp.passes.qat.equalize`.
        rounding: of weights; ``adaround`` learns it layer by layer: see :mod:`onnxcomp.passes.qat.rounding`.
        bias_correction: biases take up the mean error of their layer's output; see
            :mod:`onnxcomp.passes.qat.bias_correction`.
        reestimate_bn: running statistics of what BatchNormalization reads behind quantised layers; see
            :mod:`onnxcomp.passes.qat.reestimate`.
        float_layers: ``auto`` leaves the fewest layers float at which top-1 on the images of calibration
            drops by at most ``max_drop`` points; see :mod:`onnxcomp.passes.qat.mixed`.
        scales: in training, ``frozen`` (those of weights follow ``weights=max``) or ``learned``.
        freeze_bn: share of training after which BatchNormalization normalises with its running
            statistics and leaves them as they are; 1 for never.
        begin_weights, begin_activations: share of training before which their pairs let values pass.
    """

    name: ClassVar[str] = "qat"
    follows: ClassVar[tuple[str, ...]] = ("channels", "prune")

    placement: Literal["auto", "tensorrt", "ort-cpu"] = "auto"
    calibration: Method = "percentile"
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.9999
    weights: Literal["max", "mse"] = "max"
    weight_bits: Annotated[int, Field(ge=2, le=8)] = 8
    concat: Literal["auto", "measured", "shared", "each", "none"] = "auto"
    residual: bool = True
    pooling: bool = True
    pre_activation: bool = False
    first: bool = True
    last: bool = True
    depthwise: bool = True
    tiny: bool = True
    exclude: Names = ()
    equalize: bool = False
    rounding: Literal["nearest", "adaround"] = "nearest"
    bias_correction: bool = False
    reestimate_bn: bool = False
    float_layers: Literal["none", "auto"] = "none"
    max_drop: Annotated[float, Field(ge=0)] = 0.2
    scales: Literal["frozen", "learned"] = "frozen"
    freeze_bn: Share = 1.0
    begin_weights: Share = 0.0
    begin_activations: Share = 0.0

    def requires(self, model: Model, context: Context) -> None:
        if context.calibration is None:
            raise self.error("needs real images to calibrate its scales", fix="give --data")
        if self.rounding == "adaround" and context.grams is None:
            raise self.error("rounding=adaround needs Gram matrices of real images", fix="give --data")
        for weight in graphs.weights(model.graph):  # a Relu6 hides infinite ones from calibration
            if not np.isfinite(weight.tensor.values).all():
                raise self.error(f"{weight.name} is not finite", node=weight.node.name, fix="train it again")
        lost = unmatched(model.graph, self.exclude)
        if lost:
            raise self.error(f"exclude names {lost}, which is no weighted layer", fix="see onnxcomp inspect")
        found = self.place(model, context, "none")
        if not found.layers:
            reasons = "; ".join(dict.fromkeys(one.reason for one in found.left)) or "there is no layer"
            raise self.error(f"there is no layer to quantise: {reasons}", fix="loosen qat.exclude")

    def apply(self, model: Model, context: Context) -> Change:
        assert context.calibration is not None
        before = equalize(model, context.calibration) if self.equalize else ()
        reference = model.copy()
        mode, measured = self._concat(model, context)
        placement = self.place(model, context, mode)
        zeros = quantize(model, placement, context.calibration, self)
        after = self._repair(model, reference, context)
        pairs = [pair.weight is None for pair in graphs.quantizers(model.graph)]
        count = f"{len(layers(model))} layers in INT8, {sum(pairs)} activations"
        return Change(
            True, (f"{count} ({self.calibration})", *before, *measured, *zeros, *placement.lines(), *after)
        )

    def _repair(self, model: Model, reference: Model, context: Context) -> list[str]:
        """What wins accuracy back without training, in place; notes."""
        calibration, notes = context.calibration, list[str]()
        assert calibration is not None
        if self.rounding == "adaround":
            assert context.grams is not None
            notes += round_weights(model, reference, context.grams, bits=self.weight_bits)
        if self.float_layers == "auto":  # before what makes up for the error of those that are left
            notes += leave_float(model, reference, calibration, self.max_drop)
        if self.reestimate_bn:
            notes += reestimate(model, reference, calibration)
        if self.bias_correction:  # last: it takes off what is left of the mean error
            notes += correct_bias(model, reference, calibration)
        return notes

    def ensures(self, model: Model) -> None:
        for pair in graphs.quantizers(model.graph):
            if not (pair.scale.values > 0).all():
                raise self.error("its scale is not above 0", node=pair.quantize.name, fix="report this")

    def rehearsal(self) -> Qat:
        return replace(
            self,
            concat="auto" if self.concat == "measured" else self.concat,
            equalize=False,
            rounding="nearest",
            bias_correction=False,
            reestimate_bn=False,
            float_layers="none",
        )

    def place(self, model: Model, context: Context, concat: ConcatMode) -> Placement:
        """Where pairs are to stand; ``model`` is not changed."""
        switches = Switches(
            concat=concat,
            residual=self.residual,
            pooling=self.pooling,
            pre_activation=self.pre_activation,
            first=self.first,
            last=self.last,
            depthwise=self.depthwise,
            tiny=self.tiny,
            exclude=self.exclude,
        )
        return place(model.graph, self._runtime(context), switches)

    def _runtime(self, context: Context) -> Literal["tensorrt", "ort-cpu"]:
        return context.placement if self.placement == "auto" else self.placement

    def _concat(self, model: Model, context: Context) -> tuple[ConcatMode, tuple[str, ...]]:
        if self.concat == "measured":
            return concats.choose(self, model, context)
        if self.concat != "auto":
            return self.concat, ()
        return ("shared" if self._runtime(context) == "ort-cpu" else "none"), ()
