"""Bias correction: the mean error that quantisation leaves on each output channel is taken off the bias.

As in Nagel et al. 2019 (arXiv 1906.04721, section 4.2, empirical bias correction) and Finkelstein et al. 2019
(arXiv 1906.03193), but all layers in one pass over the images: the quantised network runs beside the float
one, and in it each layer's output is put right by the batch's own mean error before the next layer reads it.
So every layer is measured behind layers that are corrected already, as if taken one by one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from onnxcomp.model import Model
from onnxcomp.passes.base import Calibration
from onnxcomp.passes.qat.bias_sites import sites
from onnxcomp.passes.qat.sqnr import logits, sqnr
from onnxcomp.passes.qat.twin import PREFIX, Probe, averages, beside

Errors = Mapping[str, npt.NDArray[np.float64]]


def correct_bias(model: Model, reference: Model, calibration: Calibration) -> tuple[str, ...]:
    """Move the biases of quantised layers, in place, so that their outputs keep their means.

    See :func:`onnxcomp.passes.qat.bias_sites.sites` for where a correction goes. Nothing is changed where the
    logits would move away from the reference's.

    Args:
        model: with Q/DQ pairs.
        reference: the same network without, its tensors under the same names.

    Returns:
        What was done, for the report.

    Raises:
        PassError: the reference takes other images.
    """
    errors = mean_errors(model, reference, calibration, correcting=True)
    if not errors:
        return ("bias correction: no quantised layer takes one",)
    trial = model.copy()
    _correct(trial, errors)
    exact = logits(reference, calibration)
    before, after = (sqnr(exact, logits(one, calibration)) for one in (model, trial))
    figures = f"SQNR of the logits {before:.1f} -> {after:.1f} dB"
    if after <= before:
        return (f"bias correction left out, it would not help: {figures}",)
    _correct(model, errors)
    return (f"{len(errors)} biases corrected: {figures}",)


def mean_errors(model: Model, reference: Model, calibration: Calibration, *, correcting: bool) -> Errors:
    """Mean error of each channel of what can be corrected, by the tensor's name: float64 (C,).

    Args:
        correcting: measure each layer behind layers whose outputs have the reference's means.
    """
    twin = beside(model, reference)
    probe, outputs = Probe(twin), {}
    for site in list(sites(twin.graph)):
        tensor = site.tensor
        if not probe.has(PREFIX + tensor.name) or tensor.shape is None:
            continue
        difference = probe.node("Sub", [tensor, probe.tensor(PREFIX + tensor.name)])
        error = probe.mean(difference, len(tensor.shape), site.axis, keep=True)
        if correcting:
            probe.replace(tensor, probe.node("Sub", [tensor, error]))
        outputs[tensor.name] = error.name
    twin.graph.toposort()
    return averages(twin, calibration, outputs)


def _correct(model: Model, errors: Errors) -> None:
    taken = set(model.graph.tensors())
    for site in list(sites(model.graph)):
        if site.tensor.name in errors:
            site.add(-errors[site.tensor.name], taken)
