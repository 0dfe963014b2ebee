"""The gradient graph: forward, losses and gradients as one ONNX model, without torch.

ONNX Runtime's `GradientGraphBuilder` writes the backward nodes. `generate_artifacts` and
`get_optimized_model` are not used: they turn the teacher's BatchNormalization into training mode, and
their fusion of Q/DQ pairs refuses scales per channel.
"""

from __future__ import annotations

import onnx
import onnx_graphsurgeon as gs

from onnxcomp import extras
from onnxcomp.errors import TrainingError
from onnxcomp.model import IR_VERSION, LOSS, Role
from onnxcomp.training.lowering import Training, lower_gradient
from onnxcomp.training.lowering.edit import use_microsoft
from onnxcomp.training.lowering.views import GRADIENT_SUFFIX
from onnxcomp.training.ort.differentiable import differentiable_path


def differentiate(training: Training) -> tuple[onnx.ModelProto, list[str]]:
    """The gradient graph of the total loss.

    Returns:
        A model whose inputs are the image, the labels and the parameters, and whose outputs are the
        logits, the losses in the order of ``training.losses`` and a gradient ``{name}_grad`` for each
        trainable of the second value, the trainables that the loss depends on.

    Raises:
        TrainingError: a node on the way from a trainable to the loss has no gradient.
    """
    trained = differentiable_path(training.graph, training.names(Role.TRAINABLE, Role.LEARNED_SCALE), LOSS)
    bindings = extras.training_bindings()
    options = extras.onnxruntime().SessionOptions()
    options.log_severity_level = 4
    try:
        builder = bindings.GradientGraphBuilder(
            _forward(training).SerializeToString(), {LOSS}, set(trained), LOSS, options
        )
        builder.build()
        proto = onnx.load_from_string(builder.get_model())
    except Exception as error:  # the bindings raise bare subclasses of Exception
        reason = str(error).strip().splitlines()[0]
        raise TrainingError(
            f"ONNX Runtime cannot differentiate the network: {reason}",
            where="train",
            fix="export the network with other operators",
        ) from error
    _complete(proto, training, trained)
    training.rewrites += lower_gradient(proto.graph, without=training.without)
    return proto, trained


def _forward(training: Training) -> onnx.ModelProto:
    use_microsoft(training.graph)
    proto: onnx.ModelProto = gs.export_onnx(training.graph, do_type_check=False)
    proto.ir_version = IR_VERSION
    del proto.graph.value_info[:]
    return proto


def _complete(proto: onnx.ModelProto, training: Training, trained: list[str]) -> None:
    """Put outputs in order and drop unread inputs."""
    graph = proto.graph
    shapes = {training.logits: training.graph.tensors()[training.logits].shape}
    shapes.update(dict.fromkeys(training.losses, ()))
    shapes.update((name + GRADIENT_SUFFIX, training.parameters[name].shape) for name in trained)
    float32 = onnx.TensorProto.FLOAT
    outputs = [onnx.helper.make_tensor_value_info(name, float32, s) for name, s in shapes.items()]
    del graph.output[:]
    graph.output.extend(outputs)
    read = {name for node in graph.node for name in node.input} | {training.image}
    inputs = [entry for entry in graph.input if entry.name in read]
    del graph.input[:]
    graph.input.extend(inputs)
