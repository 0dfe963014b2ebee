from __future__ import annotations

from onnxcomp import graphs
from onnxcomp.model import Role
from onnxcomp.training.lowering.batch_norm import lower_batch_norm
from tests.training import networks
from tests.training.lowering import forward


def test_the_student_alone_is_lowered() -> None:
    model = networks.zoo_compression("densenet", "distill")
    training = forward.skeleton(model)
    count = lower_batch_norm(training.graph, set(training.names(Role.STATISTIC)))
    internal = [node for node in training.graph.nodes if node.op == "BatchNormInternal"]
    student = [node for node in model.graph.nodes if graphs.is_student(node)]
    assert len(internal) == count == sum(node.op == "BatchNormalization" for node in student)
    assert all(len(node.outputs) == 5 and node.attrs["training_mode"] == 1 for node in internal)
    assert not [node for node in training.graph.nodes if node.op == "BatchNormalization"]
    assert training.teacher is not None
    assert not [node for node in training.teacher.nodes if node.op == "BatchNormInternal"]
    assert [node for node in training.teacher.nodes if node.op == "BatchNormalization"]


def test_momentum_and_epsilon_are_kept() -> None:
    model = networks.zoo_compression("densenet")
    norm = next(n for n in model.graph.nodes if n.op == "BatchNormalization")
    norm.attrs.update(momentum=0.75, epsilon=1e-3)
    training = forward.skeleton(model)
    lower_batch_norm(training.graph, set(training.names(Role.STATISTIC)))
    (lowered,) = [n for n in training.graph.nodes if n.name == norm.name]
    assert (lowered.attrs["momentum"], lowered.attrs["epsilon"]) == (0.75, 1e-3)


def test_statistics_are_not_outputs_of_the_graph() -> None:
    """As graph outputs they would no longer be updated in place."""
    model = networks.zoo_compression("densenet")
    training = forward.skeleton(model)
    lower_batch_norm(training.graph, set(training.names(Role.STATISTIC)))
    assert [t.name for t in training.graph.outputs] == [training.logits, *training.losses]
