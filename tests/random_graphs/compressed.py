"""The compression form of a random network: masks with random zeros, and Q/DQ on a grid of powers of two."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxcomp import graphs, pipeline, recipe
from onnxcomp.model import Model
from onnxcomp.observed import Observed

ACTIVATION_SCALE = 2.0**-4


class _Unseen:
    """Calibration without images: scales are replaced afterwards."""

    def observe(self, model: Model, tensors: Sequence[str], *, histogram: bool = True) -> dict[str, Observed]:
        seen = Observed(histogram=histogram)
        seen.add(np.array([8.0], np.float32))
        return dict.fromkeys(tensors, seen)


def compressed(model: Model, passes: str, seed: int = 0) -> Model:
    """``model`` after ``passes``: ``prune``, ``qat`` or ``prune,qat``.

    With powers of two as scales every product and every sum of the integer layers is exact in float32, so
    that the order of summation, which changes when channels go, rounds no activation to the other side.
    """
    everything = "prune{keep_first=false keep_last=false}"
    text = passes.replace("prune", everything).replace("qat", "qat{concat=shared}")
    result = pipeline.apply(model, recipe.parse(text), calibration=_Unseen())  # type: ignore[arg-type]
    rng = np.random.default_rng(seed)
    for mask in graphs.masks(result.graph).values():
        mask.values = (rng.random(mask.values.shape) < 0.7).astype(np.float32)
    for pair in graphs.quantizers(result.graph):
        scale = np.exp2(np.ceil(np.log2(pair.scale.values))).astype(np.float32)
        pair.scale.values = scale if pair.weight is not None else np.array(ACTIVATION_SCALE, np.float32)
    return result
