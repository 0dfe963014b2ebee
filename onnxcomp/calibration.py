"""Calibration: run the network on real images and collect histograms of its activations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs

from onnxcomp.errors import ModelError
from onnxcomp.histogram import Histogram
from onnxcomp.model import Model


@dataclass(frozen=True)
class ImageCalibration:
    """Observes activations over batches of images.

    Attributes:
        batches: makes the batches anew, each float32 (B, C, H, W) as the network takes them.
        threads: of ONNX Runtime.
    """

    batches: Callable[[], Iterable[npt.NDArray[np.float32]]]
    threads: int

    def observe(self, model: Model, tensors: Sequence[str]) -> dict[str, Histogram]:
        """Histogram of the absolute values of each named tensor, in one pass over the images.

        Memory is bounded by one batch's activations, whatever the number of images.

        Raises:
            ModelError: an activation is not finite.
        """
        from onnxcomp import runtime

        histograms = {name: Histogram() for name in tensors}
        computed = [name for name in tensors if name != model.image.name]
        session = runtime.session_of_proto(_watched(model, computed), threads=self.threads)
        for images in self.batches():
            values = session.run(computed, {model.image.name: images}) if computed else []
            for name, array in zip([*computed, model.image.name], [*values, images], strict=True):
                if name in histograms:
                    try:
                        histograms[name].add(array)
                    except ValueError as error:
                        raise ModelError(
                            f"activation {name} is {error}", where="calibration", fix="check the weights"
                        ) from error
        return histograms


def _watched(model: Model, tensors: Sequence[str]) -> bytes:
    from onnxcomp.model import to_proto

    copy = model.copy()
    by_name = copy.graph.tensors()
    outputs: list[gs.Variable] = []
    for name in tensors:
        tensor = by_name[name]
        tensor.dtype = np.float32
        outputs.append(tensor)
    copy.graph.outputs = outputs or [copy.logits]
    copy.graph.inputs = [copy.image]
    copy.graph.cleanup(remove_unused_graph_inputs=False)
    return bytes(to_proto(copy).SerializeToString())
