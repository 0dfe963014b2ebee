"""Teachers as files, and what they answer alone and beside a student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnxcomp import extras
from onnxcomp.model import Model, from_proto, save
from onnxcomp.passes.distill import teachers
from onnxcomp.student import subgraph
from onnxcomp.verify import verify
from tests import run, zoo

TOLERANCE = 1e-5  # of logits around 1: folding and other kernels round otherwise in float32
NETWORKS = {**zoo.ALL, **zoo.MORE}


def proto(name: str, opset: int = 17, batch: str | int = "N", **options: Any) -> onnx.ModelProto:
    return NETWORKS[name](opset, batch, seed=3, **options)


def student(opset: int = 17, batch: str | int = "N", **options: Any) -> Model:
    return from_proto(zoo.resnet(opset, batch, **options))


def written(network: onnx.ModelProto | Model, folder: Path, name: str = "teacher.onnx") -> Path:
    path = folder / name
    if isinstance(network, Model):
        save(network, path)
    else:
        onnx.save(network, path)
    return path


def alone(path: Path, images: np.ndarray, batch: int | None = None) -> np.ndarray:
    """The first output of the file in ONNX Runtime, without onnxcomp, ``batch`` images at a time."""
    runtime = extras.onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(path.read_bytes(), options)
    image, *others = session.get_inputs()
    size = batch or len(images)
    found = []
    for start in range(0, len(images), size):
        feeds = {image.name: images[start : start + size]}
        feeds |= {other.name: np.zeros(size, np.int64) for other in others}  # the labels
        found.append(session.run([session.get_outputs()[0].name], feeds)[0])
    return np.concatenate(found)


def beside(
    network: Model, *paths: Path, resize: bool = False, images: np.ndarray | None = None
) -> tuple[teachers.Teachers, np.ndarray]:
    """The teachers attached to ``network``, and their logits in its graph."""
    read = [teachers.read(path) for path in paths]
    for teacher in read:
        teachers.check(teacher, network, resize=resize)
    found = teachers.attach(network, read, resize=resize)
    verify(network, where="student")
    images = run.images(network) if images is None else images
    return found, run.logits(subgraph(network, [found.logits.name]), images)
