"""The slow way to measure a network with other values of one weight, and small helpers."""

from __future__ import annotations

import numpy as np

from onnxcomp import runtime
from onnxcomp.data import DataSet, ImageSet
from onnxcomp.model import Model, from_proto
from onnxcomp.sensitivity.scores import Point
from tests import zoo
from tests.pictures import NORMAL, normalised, pictures

NETWORKS = {**zoo.ALL, **zoo.MORE}


def network(name: str, **options: object) -> Model:
    """A network of the zoo that knows how its images are normalised."""
    model = from_proto(NETWORKS[name](**options))
    model.preprocessing = NORMAL
    return model


SHARED = "onnx::Conv_125"


def sharing() -> Model:
    """A network two of whose convolutions have one weight."""
    model = network("resnet")
    tensors = model.constants()
    (reader,) = tensors["onnx::Conv_127"].outputs
    reader.inputs[1] = tensors[SHARED]
    return model


def data(count: int = 23, test: int = 7) -> DataSet:
    """Random pictures."""
    return DataSet("pictures", pictures(count), pictures(test, seed=1))


def agreeing(model: Model, count: int = 60) -> DataSet:
    """Random pictures with the labels that the network gives them: pruned far enough, it will err."""
    images = pictures(count)
    session = runtime.session(model, threads=1)
    (logits,) = session.run(None, {model.image.name: normalised(images).astype(np.float32)})
    images.labels[:] = logits.argmax(1)
    return DataSet("pictures", images, images)


def measure(model: Model, images: ImageSet, name: str = "", values: np.ndarray | None = None) -> Point:
    """A session of the whole network for this one point, without the library's own scoring."""
    model = model.copy()
    if values is not None:
        model.constants()[name].values = values
    session = runtime.session(model, threads=1)
    inputs = normalised(images).astype(np.float32)
    size = model.batch or len(inputs)
    rows = [
        session.run(None, {model.image.name: inputs[i : i + size]})[0] for i in range(0, len(inputs), size)
    ]
    logits = np.concatenate(rows).astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    own = shares[np.arange(len(logits)), images.labels]
    hits = int(np.sum(logits.argmax(1) == images.labels))
    return Point(100 * hits / len(logits), float(-np.log(own).mean()))


def smallest_away(values: np.ndarray, share: float) -> np.ndarray:
    """A weight without its smallest values, chosen by sorting."""
    flat = values.reshape(-1).copy()
    flat[np.argsort(np.abs(flat), kind="stable")[: round(share * flat.size)]] = 0
    return flat.reshape(values.shape)
