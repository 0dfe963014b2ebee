"""Run the training form forward, without differentiating it."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import extras
from onnxcomp.model import IR_VERSION, LABELS, LOSS, Model, to_proto
from onnxcomp.training.lowering import static_batch
from onnxcomp.training.lowering.edit import settle
from onnxcomp.training.lowering.parameters import Training, separate
from tests.training import networks


def skeleton(model: Model, batch_size: int = networks.BATCH) -> Training:
    """Parameters as inputs and static shapes, nothing else lowered."""
    training = separate(model)
    training.batch_size = batch_size
    static_batch.LOWERING.rewrite(training)
    return training


def hidden(training: Training, images: np.ndarray) -> dict[str, np.ndarray]:
    """What the teacher says of the images, by tensor name."""
    if training.teacher is None:
        return {}
    proto = gs.export_onnx(training.teacher, do_type_check=False)
    proto.ir_version = IR_VERSION
    names = [tensor.name for tensor in training.teacher.outputs]
    return _run(proto.SerializeToString(), {training.image: images}, names)


def run(training: Training, seed: int = 0) -> dict[str, np.ndarray]:
    """Logits and losses of the lowered graph on a random batch."""
    settle(training.graph)
    proto = gs.export_onnx(training.graph, do_type_check=False)
    proto.ir_version = IR_VERSION
    image = training.graph.tensors()[training.image]
    images, labels = networks.batch(seed, image.shape[2], image.shape[0])
    feeds = {training.image: images, LABELS: labels, **training.parameters, **hidden(training, images)}
    return _run(proto.SerializeToString(), feeds, [training.logits, *training.losses])


def run_model(model: Model, seed: int = 0) -> dict[str, np.ndarray]:
    """Logits and losses of the compression form as it stands in the file."""
    images, labels = networks.batch(seed, model.image_shape[1])
    names = [model.logits.name, LOSS, *model.losses]
    return _run(to_proto(model).SerializeToString(), {model.image.name: images, LABELS: labels}, names)


def assert_same(one: dict[str, np.ndarray], two: dict[str, np.ndarray], tolerance: float) -> None:
    """Absolute tolerance; the values are of size 1."""
    assert set(one) == set(two) >= {LOSS}
    for name, value in one.items():
        np.testing.assert_allclose(value, two[name], rtol=0, atol=tolerance, err_msg=name)


def _run(data: bytes, feeds: dict[str, np.ndarray], names: list[str]) -> dict[str, np.ndarray]:
    ort = extras.onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    read = {entry.name for entry in session.get_inputs()}
    values = session.run(names, {name: value for name, value in feeds.items() if name in read})
    return dict(zip(names, values, strict=True))
