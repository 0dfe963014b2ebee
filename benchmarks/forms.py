"""One network in every form that a contender takes: ONNX for onnxcomp and onnxsim, arrays for PyTorch.

The arrays are by PyTorch's names (``conv.weight``), so a PyTorch process reads them with numpy alone and
its memory holds nothing of ONNX.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnxcomp import graphs, models, pipeline, recipe
from onnxcomp.calibration import ImageCalibration
from onnxcomp.fold_bn import fold_bn
from onnxcomp.model import Model, save, to_proto
from onnxcomp.passes.distill import Distill

CLASSES, SIZE = 10, 32
# Closed masks from the start: the step that most of a training consists of.
RECIPE = "prune{sparsity=0.8 initial=0.8 begin=0 end=0},qat,distill"
Arrays = dict[str, NDArray[Any]]


def dense(network: str, *, folded: bool = False, seed: int = 0) -> Model:
    """``name`` or ``name/stem``, for 10 classes and images of 32x32, with random weights."""
    name, _, stem = network.partition("/")
    model = models.build(name, num_classes=CLASSES, input_size=SIZE, stem=stem or "imagenet", seed=seed)
    if folded:
        fold_bn(model.graph)
    return model


def compressed(model: Model) -> Model:
    """The compression form of the full step, its masks closed on the smallest weights of each tensor."""
    images = np.random.default_rng(1).standard_normal((32, 3, SIZE, SIZE)).astype(np.float32)
    calibration = ImageCalibration(lambda: [images], threads=1)
    result = pipeline.apply(model, recipe.parse(RECIPE), calibration=calibration)
    constants = result.constants()
    for weight, mask in graphs.masks(result.graph).items():
        sizes = np.abs(constants[weight].values)
        mask.values = (sizes > np.quantile(sizes, 0.8)).astype(np.float32)
        constants[weight].values = constants[weight].values * mask.values
    return result


def parameters(model: Model) -> Arrays:
    """Weights of an inference form by PyTorch's names; a node is called as its module."""
    arrays: Arrays = {}
    for node in model.graph.nodes:
        if node.op in ("Conv", "Gemm", "BatchNormalization"):
            names = ("weight", "bias", "running_mean", "running_var")
            arrays.update(
                (f"{node.name}.{key}", t.values) for key, t in zip(names, node.inputs[1:], strict=False)
            )
    return arrays


def compression(model: Model) -> Arrays:
    """Masks, activation scales and the distillation's options of a compression form."""
    found = recipe.parse(model.recipe).find(Distill.name)
    assert isinstance(found, Distill)
    arrays: Arrays = {
        f"distill:{key}": np.array(getattr(found, key))
        for key in ("temperature", "alpha", "boundary", "margin")
    }
    for weight, mask in graphs.masks(model.graph).items():
        arrays[f"mask:{weight.removesuffix('.weight')}"] = mask.values
    for node in model.graph.nodes:
        if node.op in ("Conv", "Gemm") and graphs.is_student(node):
            arrays[f"scale:{node.name}"] = node.inputs[0].inputs[0].inputs[1].values
    return arrays


def write(network: str, folder: Path, batch: int) -> Model:
    """Write every form into ``folder``; returns the dense network."""
    model = dense(network)
    full = compressed(model)
    save(pipeline.with_task_loss(model), folder / "plain.onnx")
    save(full, folder / "full.onnx")
    np.savez(folder / "plain.npz", **parameters(model))
    np.savez(folder / "full.npz", **parameters(model), **compression(full))
    onnx.save(for_onnxsim(model, batch), folder / "onnxsim.onnx")
    return model


def for_onnxsim(model: Model, batch: int) -> onnx.ModelProto:
    """A network with its loss as ``onnxsim.compile_training_loop`` 0.8.1 can differentiate it.

    It wants static shapes, and has no rule for Flatten, LogSoftmax and SoftmaxCrossEntropyLoss: Reshape,
    and the mean of -log softmax times one-hot labels (float32) stand for them.
    """
    proto = to_proto(model)
    graph = proto.graph
    graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    graph.output[0].type.tensor_type.shape.dim[0].dim_value = batch
    for node in graph.node:
        if node.op_type == "Flatten":
            node.op_type = "Reshape"
            del node.attribute[:]
            node.input.append("flat")
    graph.initializer.append(numpy_helper.from_array(np.array([batch, -1]), "flat"))
    graph.initializer.append(numpy_helper.from_array(np.array(-1 / batch, np.float32), "minus_share"))
    graph.initializer.append(numpy_helper.from_array(np.array([0, 1]), "both_axes"))
    graph.node.extend(
        [
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
            helper.make_node("Log", ["probabilities"], ["log_probabilities"]),
            helper.make_node("Mul", ["log_probabilities", "labels"], ["chosen"]),
            helper.make_node("ReduceSum", ["chosen", "both_axes"], ["summed"], keepdims=0),
            helper.make_node("Mul", ["summed", "minus_share"], ["loss"]),
        ]
    )
    graph.input.append(helper.make_tensor_value_info("labels", TensorProto.FLOAT, [batch, CLASSES]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("loss", TensorProto.FLOAT, []))
    del graph.value_info[:]
    return proto


def multiply_adds(model: Model) -> int:
    """Multiply-adds of one image's forward pass: convolutions and linear layers."""
    inferred = onnx.shape_inference.infer_shapes(to_proto(model), strict_mode=True).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.output)
    }
    weights = {constant.name: constant.dims for constant in inferred.initializer}
    total = 0
    for node in inferred.node:
        if node.op_type in ("Conv", "Gemm"):
            # Each weight is used once for each pixel of the output.
            pixels = shapes[node.output[0]][2:]
            total += int(np.prod(weights[node.input[1]], dtype=np.int64)) * int(np.prod(pixels))
    return total
