"""What the layers of a network read, on real images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from onnxcomp import model as models
from onnxcomp import sources
from onnxcomp.page import histogram
from onnxcomp.page.histogram import Histogram
from onnxcomp.page.network import Network
from onnxcomp.preprocess import ensure_preprocessing
from onnxcomp.sources import Show

if TYPE_CHECKING:
    from onnxcomp.data import DataSet


def observe(
    network: Network, data: DataSet, *, images: int, threads: int, show: Show = sources.quiet
) -> Mapping[str, Histogram]:
    """By the tensor's name, before it is quantised; a tensor that is 0 throughout is left out.

    Args:
        images: of the training set, evenly spaced.
        threads: of ONNX Runtime.
        show: told how many images were seen.

    Raises:
        OnnxcompError: the images are not the network's, or ONNX Runtime is missing.
    """
    model = models.load(network.path)
    ensure_preprocessing(model, data)
    calibration = sources.from_data(model, data, images=images, threads=threads, show=show).calibration
    assert calibration is not None
    tensors = list(dict.fromkeys(layer.activation for layer in network.layers))
    seen = calibration.observe(model, tensors)
    found = {name: histogram.of_observed(one) for name, one in seen.items()}
    return {name: one for name, one in found.items() if one is not None}
