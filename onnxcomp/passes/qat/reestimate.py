"""BatchNormalization re-estimated: what it reads behind quantised layers has another mean and variance.

The usual way is to take the statistics of new batches for the running ones, as
torch.optim.swa_utils.update_bn does. On the few images of calibration they say more about these images than
about quantisation. So only the change is taken, measured on the same images beside the float network: the
mean moves by the difference of the two means, the variance changes in the ratio of the two variances.
All are found in one pass, each behind those that are re-estimated already, as
:mod:`onnxcomp.passes.qat.bias_correction` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.model import Model
from onnxcomp.passes.base import Calibration
from onnxcomp.passes.qat.sqnr import logits, sqnr
from onnxcomp.passes.qat.twin import PREFIX, Probe, averages, beside

MEAN, VARIANCE = 3, 4
"""Inputs of BatchNormalization."""
LEAST = 0.1
Statistics = Mapping[str, npt.NDArray[np.float64]]


def reestimate(model: Model, reference: Model, calibration: Calibration) -> tuple[str, ...]:
    """Set the running statistics of each BatchNormalization, in place, to those behind quantised layers.

    Nothing is changed where the logits would move away from the reference's.

    Args:
        model: with Q/DQ pairs; biases that are corrected already would be corrected twice.
        reference: the same network without, its tensors under the same names.

    Returns:
        What was done, for the report.
    """
    found = statistics(model, reference, calibration)
    if not found:
        return ("there is no BatchNormalization to re-estimate",)
    trial = model.copy()
    _set(trial, found)
    exact = logits(reference, calibration)
    before, after = (sqnr(exact, logits(one, calibration)) for one in (model, trial))
    figures = f"SQNR of the logits {before:.1f} -> {after:.1f} dB"
    if after <= before:
        return (f"BatchNormalization not re-estimated, it would not help: {figures}",)
    _set(model, found)
    return (f"{len(found)} BatchNormalization re-estimated: {figures}",)


def statistics(model: Model, reference: Model, calibration: Calibration) -> Statistics:
    """New means and variances by the name of what each BatchNormalization makes: float64 (2, C).

    With m and v the mean and variance over a batch and all positions of what a node reads in the quantised
    (q) and in the float network (f): mean + m_q - m_f, and variance (1 + (v_q - v_f) / v_f), averaged over
    the batches. In place of v_f stands at least :data:`LEAST` variance + epsilon, for channels that are
    nearly constant on some batch.
    """
    twin = beside(model, reference)
    probe, means, variances = Probe(twin), {}, {}
    for node in [node for node in _norms(twin.graph) if probe.has(PREFIX + node.outputs[0].name)]:
        read, name = node.inputs[0], node.outputs[0].name
        other = probe.tensor(PREFIX + name).inputs[0].inputs[0]  # here no Q/DQ stands in front of it
        mean, variance = _moments(probe, read, len(read.shape))
        other_mean, other_variance = _moments(probe, other, len(read.shape))
        epsilon = probe.scalar(float(node.attrs.get("epsilon", 1e-5)))
        least = probe.node("Mul", [node.inputs[VARIANCE], probe.scalar(LEAST)])
        base = probe.node("Max", [other_variance, probe.node("Add", [least, epsilon])])
        share = probe.node("Div", [probe.node("Sub", [variance, other_variance]), base])
        moved = probe.node("Add", [node.inputs[MEAN], probe.node("Sub", [mean, other_mean])])
        scaled = probe.node("Add", [node.inputs[VARIANCE], probe.node("Mul", [node.inputs[VARIANCE], share])])
        node.inputs[MEAN], node.inputs[VARIANCE] = moved, scaled
        means[name], variances[name] = moved.name, scaled.name
    twin.graph.toposort()
    tensors = {f"mean {key}": name for key, name in means.items()}
    tensors |= {f"variance {key}": name for key, name in variances.items()}
    found = averages(twin, calibration, tensors)
    return {key: np.stack([found[f"mean {key}"], found[f"variance {key}"]]) for key in means}


def _norms(graph: gs.Graph) -> Iterator[gs.Node]:
    """BatchNormalization of the student, its statistics constant."""
    for node in graph.nodes:
        student = graphs.is_student(node) and not node.name.startswith(PREFIX)
        constant = all(isinstance(tensor, gs.Constant) for tensor in node.inputs[MEAN:])
        if node.op == "BatchNormalization" and student and constant and node.inputs[0].shape is not None:
            yield node


def _moments(probe: Probe, tensor: gs.Tensor, rank: int) -> tuple[gs.Variable, gs.Variable]:
    """Mean and variance of each channel: (C,)."""
    centred = probe.node("Sub", [tensor, probe.mean(tensor, rank, 1, keep=True)])
    square = probe.node("Mul", [centred, centred])
    return probe.mean(tensor, rank, 1, keep=False), probe.mean(square, rank, 1, keep=False)


def _set(model: Model, found: Statistics) -> None:
    for node in _norms(model.graph):
        for index, values in zip((MEAN, VARIANCE), found.get(node.outputs[0].name, ()), strict=False):
            node.inputs[index].values = values.astype(np.float32)
