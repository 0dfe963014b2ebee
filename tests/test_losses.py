from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from onnxcomp import graphs, losses, pipeline, recipe
from onnxcomp.errors import TrainingError
from onnxcomp.model import Form, Model, from_proto, to_proto
from tests import run, zoo
from tests.training.networks import assert_gradients, zoo_compression

EXTRA = "loss/extra"


def with_extra_term(opset: int = 17) -> Model:
    """A network with a second term: 0.5 * cross-entropy + 0.25 * the mean of the logits' squares."""
    model = from_proto(zoo.resnet(opset=opset))
    square = losses.add_node(model.graph, "Mul", "loss/square", [model.logits, model.logits])
    losses.add_node(model.graph, "ReduceMean", EXTRA, [square], keepdims=0)
    model.losses = {EXTRA: 0.25, losses.TASK: 0.5}
    return model


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    exact = logits.astype(np.float64)
    return float(np.mean(np.log(np.exp(exact).sum(1)) - exact[np.arange(len(labels)), labels]))


def test_a_node_of_the_loss_and_its_output_have_one_name() -> None:
    graph, x = gs.Graph(opset=17), gs.Variable("x", np.float32, (2,))
    output = losses.add_node(graph, "ReduceSum", "loss/sum", [x], keepdims=0)
    (node,) = graph.nodes
    assert (node.op, node.name, output.name) == ("ReduceSum", "loss/sum", "loss/sum")
    assert (node.inputs[0] is x, node.outputs[0] is output) == (True, True)
    assert node.attrs == {"keepdims": 0}
    assert (output.dtype, graphs.is_student(node)) == (np.float32, False)


def test_scalar() -> None:
    found = losses.scalar("s", 0.1)
    assert (found.name, found.values.shape, found.values.dtype) == ("s", (), np.float32)
    assert found.values == np.float32(0.1)


@pytest.mark.parametrize("batch", ["N", 2])
def test_labels_are_added_once_with_the_batch_of_the_logits(batch: str | int) -> None:
    model = from_proto(zoo.mlp(batch=batch))
    tensor = losses.labels(model)
    assert (tensor.name, tensor.dtype, tuple(tensor.shape)) == ("labels", np.int64, (batch,))
    assert losses.labels(model) is tensor
    assert [item.name for item in model.graph.inputs] == ["input", "labels"]


@pytest.mark.parametrize("opset", range(13, 22))
def test_the_task_loss_alone_is_the_mean_cross_entropy(opset: int) -> None:
    model = from_proto(zoo.mlp(opset=opset))
    losses.add_total(model)
    proto = to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    assert [output.name for output in proto.graph.output] == ["output", "loss", "loss/task"]
    assert all(not output.type.tensor_type.shape.dim for output in proto.graph.output[1:])
    assert (model.form, model.losses) == (Form.COMPRESSION, {losses.TASK: 1.0})
    images = run.images(model, 5)
    found = run.outputs(model, images)
    # float32 against float64, of a loss around 2
    np.testing.assert_allclose(found["loss/task"], cross_entropy(found["output"], np.arange(5)), rtol=1e-5)
    assert found["loss"] == found["loss/task"]


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
def test_the_total_is_the_weighted_sum_and_the_task_comes_first(opset: int) -> None:
    model = with_extra_term(opset)
    losses.add_total(model)
    onnx.checker.check_model(to_proto(model), full_check=True)
    assert list(model.losses.items()) == [(losses.TASK, 0.5), (EXTRA, 0.25)]
    found = run.outputs(model, run.images(model, 5))
    assert list(found) == ["output", "loss", losses.TASK, EXTRA]
    logits = found["output"].astype(np.float64)
    task, extra = cross_entropy(logits, np.arange(5)), np.mean(logits**2)
    np.testing.assert_allclose(found[losses.TASK], task, rtol=1e-5)
    np.testing.assert_allclose(found[EXTRA], extra, rtol=1e-5)
    np.testing.assert_allclose(found["loss"], 0.5 * task + 0.25 * extra, rtol=1e-5)


@pytest.mark.parametrize("plain", [True, False])
def test_add_total_twice_is_as_once(plain: bool) -> None:
    model = from_proto(zoo.resnet()) if plain else with_extra_term()
    losses.add_total(model)
    once = to_proto(model)
    losses.add_total(model)
    twice = to_proto(model)
    assert sorted(node.name for node in twice.graph.node) == sorted(node.name for node in once.graph.node)
    assert list(twice.graph.input) == list(once.graph.input)
    assert list(twice.graph.output) == list(once.graph.output)
    assert list(twice.metadata_props) == list(once.metadata_props)
    by_name = {tensor.name: tensor for tensor in twice.graph.initializer}
    assert by_name == {tensor.name: tensor for tensor in once.graph.initializer}
    images = run.images(model)
    assert run.outputs(model, images)["loss"] == run.outputs(from_proto(once), images)["loss"]


def test_the_total_follows_weights_that_changed() -> None:
    model = with_extra_term()
    losses.add_total(model)
    model.losses[EXTRA] = 3.0
    losses.add_total(model)
    found = run.outputs(model, run.images(model))
    np.testing.assert_allclose(found["loss"], 0.5 * found[losses.TASK] + 3 * found[EXTRA], rtol=1e-6)


def test_remove_total_keeps_the_terms() -> None:
    model = with_extra_term()
    losses.add_total(model)
    losses.remove_total(model)
    assert [output.name for output in model.graph.outputs] == ["output"]
    names = {node.name for node in model.graph.nodes if not graphs.is_student(node)}
    assert names == {"loss/square", EXTRA, losses.TASK}
    assert set(model.losses) == {EXTRA, losses.TASK}


def test_remove_losses_leaves_the_network_as_it_was() -> None:
    model = from_proto(zoo.densenet())
    before = to_proto(model)
    images = run.images(model)
    logits = run.logits(model, images)
    compressed = pipeline.apply(model, recipe.parse("distill"))
    assert not all(graphs.is_student(node) for node in compressed.graph.nodes)
    losses.remove_losses(compressed)
    after = to_proto(compressed)
    onnx.checker.check_model(after, full_check=True)
    assert [node.name for node in after.graph.node] == [node.name for node in before.graph.node]
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    names = {tensor.name for tensor in after.graph.initializer}
    assert names == {tensor.name for tensor in before.graph.initializer}
    assert not compressed.losses
    np.testing.assert_array_equal(run.logits(compressed, images), logits)


def smoothed(logits: np.ndarray, labels: np.ndarray, epsilon: float) -> float:
    """Against targets of 1 - epsilon + epsilon / C at the label and epsilon / C elsewhere."""
    exact = logits.astype(np.float64)
    log = exact - np.log(np.exp(exact).sum(1, keepdims=True))
    targets = np.full(log.shape, epsilon / log.shape[1])
    targets[np.arange(len(labels)), labels] += 1 - epsilon
    return float(-(targets * log).sum(1).mean())


@pytest.mark.parametrize("epsilon", [0.1, 1.0])
@pytest.mark.parametrize("opset", range(13, 22))
def test_smoothed_labels_follow_the_formula(opset: int, epsilon: float) -> None:
    model = from_proto(zoo.mlp(opset=opset))
    losses.add_total(model)
    losses.smooth_labels(model, epsilon)
    proto = to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    assert [output.name for output in proto.graph.output] == ["output", "loss", "loss/task"]
    assert all(not output.type.tensor_type.shape.dim for output in proto.graph.output[1:])
    found = run.outputs(model, run.images(model, 5))
    expected = smoothed(found["output"], np.arange(5), epsilon)
    # float32 against float64, of a loss around 2
    np.testing.assert_allclose(found["loss/task"], expected, rtol=1e-5)
    assert found["loss"] == found["loss/task"]
    assert expected != pytest.approx(cross_entropy(found["output"], np.arange(5)), rel=1e-2)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.5, 1.0])
def test_smoothed_labels_agree_with_torch(epsilon: float) -> None:
    torch = pytest.importorskip("torch")
    model = zoo_compression("resnet")
    losses.smooth_labels(model, epsilon)
    found = run.outputs(model, run.images(model, 5))
    loss = torch.nn.CrossEntropyLoss(label_smoothing=epsilon)
    expected = float(loss(torch.from_numpy(found["output"]), torch.arange(5)))
    np.testing.assert_allclose(found["loss/task"], expected, rtol=1e-6)


def test_smoothing_keeps_the_other_terms_and_their_weights() -> None:
    model = with_extra_term()
    losses.add_total(model)
    losses.smooth_labels(model, 0.2)
    assert list(model.losses.items()) == [(losses.TASK, 0.5), (EXTRA, 0.25)]
    found = run.outputs(model, run.images(model, 5))
    task, extra = smoothed(found["output"], np.arange(5), 0.2), np.mean(found["output"].astype(float) ** 2)
    np.testing.assert_allclose(found[losses.TASK], task, rtol=1e-5)
    np.testing.assert_allclose(found["loss"], 0.5 * task + 0.25 * extra, rtol=1e-5)


def test_smoothing_again_replaces_and_0_takes_it_away() -> None:
    model = zoo_compression("mlp")
    before = to_proto(model)
    images = run.images(model, 5)
    for epsilon in (0.3, 0.1):
        losses.smooth_labels(model, epsilon)
        losses.add_total(model)  # as another pass would
    found = run.outputs(model, images)
    np.testing.assert_allclose(found["loss"], smoothed(found["output"], np.arange(5), 0.1), rtol=1e-5)
    losses.smooth_labels(model, 0)
    losses.add_total(model)
    after = to_proto(model)
    assert {(n.op_type, n.name) for n in after.graph.node} == {(n.op_type, n.name) for n in before.graph.node}
    assert list(after.graph.output) == list(before.graph.output)
    losses.smooth_labels(model, 0.1)
    losses.remove_losses(model)
    assert all(graphs.is_student(node) for node in model.graph.nodes)


@pytest.mark.parametrize("network", ["densenet", "resnet", "mobilenet", "mlp"])
def test_smoothed_labels_train(network: str) -> None:
    model = zoo_compression(network, opset=18 if network == "mlp" else 17)
    losses.smooth_labels(model, 0.1)
    assert_gradients(model)


def test_smoothed_labels_train_beside_a_teacher() -> None:
    model = zoo_compression("mlp", "distill{alpha=0.4}")
    losses.smooth_labels(model, 0.2)
    assert_gradients(model)


@pytest.mark.parametrize("epsilon", [-0.1, 1.1, float("nan")])
def test_smoothing_out_of_range(epsilon: float) -> None:
    with pytest.raises(TrainingError, match=r"--label-smoothing: .* is out of range; give 0 to 1"):
        losses.smooth_labels(zoo_compression("mlp"), epsilon)


def test_smoothing_needs_a_task_loss() -> None:
    with pytest.raises(TrainingError, match="--label-smoothing: the model has no task loss"):
        losses.smooth_labels(from_proto(zoo.mlp()), 0.1)
    model = zoo_compression("mlp", "distill{labels=false}")
    with pytest.raises(TrainingError, match="no task loss; leave it out"):
        losses.smooth_labels(model, 0.1)


@pytest.mark.parametrize("name", ["mlp", "densenet"])
def test_a_task_loss_that_no_longer_counts_takes_the_labels_along(name: str) -> None:
    model = zoo_compression(name)
    assert any(tensor.name == "labels" for tensor in model.graph.inputs)
    model = pipeline.apply(model, recipe.parse("distill{labels=false}"))
    assert [tensor.name for tensor in model.graph.inputs] == [model.image.name]
    assert not any(node.name.startswith(losses.TASK) for node in model.graph.nodes)
    onnx.checker.check_model(to_proto(model), full_check=True)
