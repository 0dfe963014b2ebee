"""Does the engine on the device answer as ONNX Runtime does here, on the same images?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxcomp import runtime
from onnxcomp.data import ImageSet, evaluation_batches
from onnxcomp.deploy.engines.build import Request
from onnxcomp.deploy.engines.record import Record
from onnxcomp.deploy.engines.runtime import FailedError, Running
from onnxcomp.deploy.trtexec.failures import failure_error
from onnxcomp.errors import DataError, OnnxcompError
from onnxcomp.model import Model
from onnxcomp.parity.accuracy import pad, percent
from onnxcomp.parity.checks import ROUNDING, Check, drop_checks
from onnxcomp.parity.interval import Drop, paired_drop
from onnxcomp.parity.limits import Limits
from onnxcomp.parity.sample import evenly_spaced

QUANTILE = 0.99


@dataclass(frozen=True)
class DeviceParity:
    """An engine measured against ONNX Runtime on the file that it was built of.

    Attributes:
        gpu, tensorrt: what ran it.
        images: number of images.
        agreement: images with the same top-1 class, in percent.
        mean_absolute: of the differences of logits.
        quantile_absolute: below which 99 % of these differences are.
        mean_logit: of the logits' absolute values here, to compare with.
        top1_device, top1_here: accuracy on these images, in percent.
        dequantised: number of Q and DQ nodes that the engine is without, for lack of a kernel.
        finite: no output of the engine is NaN or infinite.
        drop: points of top-1 that the engine loses against ONNX Runtime here, on these images.
    """

    gpu: str
    tensorrt: str
    images: int
    agreement: float
    mean_absolute: float
    quantile_absolute: float
    mean_logit: float
    top1_device: float
    top1_here: float
    dequantised: int
    finite: bool
    drop: Drop

    def rows(self) -> list[tuple[str, str]]:
        """Pairs of name and text, for a table."""
        return [
            ("images on the device", f"{self.images:,}"),
            ("same top-1 class as here", f"{self.agreement:.2f} %"),
            ("top-1 on the device", f"{self.top1_device:.2f} %"),
            ("top-1 here, on these", f"{self.top1_here:.2f} %"),
            ("mean absolute difference", f"{self.mean_absolute:.3g}"),
            (f"{100 * QUANTILE:g} % of differences below", f"{self.quantile_absolute:.3g}"),
            ("mean absolute logit", f"{self.mean_logit:.3g}"),
        ]

    def checks(self, limits: Limits) -> tuple[list[Check], list[str]]:
        """Each limit that can be held against an engine, and lines worth reading though they hold."""
        where = f"on {self.gpu} "
        finite = "" if self.finite else f"NaN or infinity among the outputs on {self.gpu}"
        checks = [Check(f"{where}finite outputs", "no NaN, no infinity", "no" if finite else "yes", finite)]
        drops, notes = drop_checks(self.drop, self.top1_here, self.top1_device, limits, where)
        checks += drops
        if limits.min_agreement is not None:
            asked = f"at least {limits.min_agreement:g} %"
            line = (
                f"{where}the top-1 class is the same as here on {self.agreement:.2f} % of {self.images}"
                f" images; {asked} is asked for"
            )
            low = self.agreement < limits.min_agreement - ROUNDING
            checks.append(
                Check(f"{where}same top-1 class", asked, f"{self.agreement:.2f} %", line if low else "")
            )
        return checks, notes


def compare(
    request: Request,
    model: Model,
    image_set: ImageSet,
    *,
    samples: int,
    threads: int,
    confidence: float = 95,
    progress: Callable[[int], None] = lambda count: None,
) -> DeviceParity:
    """Run evenly spaced images of ``image_set`` on the device of ``request`` and here.

    Args:
        model: the network in the file of ``request``, with its preprocessing.
        samples: number of images; all at most.
        confidence: in percent, of the drop's interval.
        progress: called with a number of images.

    Raises:
        OnnxcompError: the engine cannot be built, does not run, or has other outputs than the file.
    """
    if not len(image_set) or model.preprocessing is None:
        raise DataError("there is no image to compare on")
    chosen = evenly_spaced(image_set, min(samples, len(image_set)))
    channels, height, width = model.image_shape
    batch = model.batch or request.wish.batch
    record = request.made()
    session = runtime.session(model, threads=threads, integer=False)  # the file's numbers, no CPU kernel's
    here, there = [], []
    for images, _ in evaluation_batches(chosen, (height, width), model.preprocessing, channels, batch):
        full = pad(images, batch)
        here.append(session.run(None, {model.image.name: full})[0][: len(images)])
        there.append(_on_device(request, model, full)[: len(images)])
        progress(len(images))
    return _measured(np.concatenate(there), np.concatenate(here), chosen.labels, record, confidence)


def _on_device(request: Request, model: Model, images: NDArray[np.float32]) -> NDArray[np.float64]:
    shapes = request.source.shapes(request.wish.batch, request.wish.shapes)
    try:
        outputs = request.runtime.infer(
            request.engine, {model.image.name: images}, Running(shapes, request.wish.dla_core)
        )
    except FailedError as failed:
        raise failure_error(failed.failure, request.runtime.machine.name) from failed
    found = outputs.get(model.logits.name)
    if found is None or found.size != len(images) * model.num_classes:
        raise OnnxcompError(
            f"the engine gives no output {model.logits.name} of {len(images)}x{model.num_classes}",
            where=request.runtime.machine.name,
            fix="build it again",
        )
    return found.reshape(len(images), -1)


def _measured(
    device: NDArray[np.float64],
    here: NDArray[np.float32],
    labels: NDArray[np.int64],
    record: Record,
    confidence: float,
) -> DeviceParity:
    """Both outputs (N, classes), labels (N,)."""
    errors = np.abs(device - here)
    classes, expected = device.argmax(1), here.argmax(1)
    return DeviceParity(
        gpu=record.gpu,
        tensorrt=record.tensorrt,
        images=len(here),
        agreement=percent(classes == expected),
        mean_absolute=float(errors.mean()),
        quantile_absolute=float(np.quantile(errors, QUANTILE)),
        mean_logit=float(np.abs(here).mean()),
        top1_device=percent(classes == labels),
        top1_here=percent(expected == labels),
        dequantised=len(record.dequantised),
        finite=bool(np.isfinite(device).all()),
        drop=paired_drop(expected == labels, classes == labels, confidence),
    )
