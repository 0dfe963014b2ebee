"""What a channel is worth, against plain numpy and finite differences."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from onnxcomp import graphs
from onnxcomp.gradients import ImageGradients, _trainee
from onnxcomp.model import Model, from_proto
from onnxcomp.passes.channels import Dependencies, find, scores
from tests import zoo
from tests.builder import Builder, conv
from tests.float64 import Float64
from tests.passes.channels.small import classifier, numbers
from tests.training import networks

IMAGES = 3


def two(net: Builder, x: str) -> str:
    a, b = conv(net, x, "a", 3, 4), conv(net, x, "b", 3, 4)
    return conv(net, net.node("Add", [a, b], "sum"), "c", 4, 6)


def test_magnitude_is_the_share_of_each_weights_energy() -> None:
    model = classifier(two, 6)
    dependencies = find(model.graph)
    found = scores.magnitude(model.graph, dependencies)
    assert found.dtype == np.float64
    assert found.shape == (dependencies.size,)
    energy = {name: c.values.astype(np.float64) ** 2 for name, c in model.constants().items()}
    for position, number in enumerate(numbers(dependencies, "c.weight", 1)):
        expected = sum(
            energy[f"{name}.weight"][position].sum() / energy[f"{name}.weight"].sum() for name in "ab"
        )
        expected += energy["c.weight"][:, position].sum() / energy["c.weight"].sum()
        assert found[number] == pytest.approx(expected, rel=1e-5)


def test_magnitude_counts_a_shared_weight_once_and_all_positions_of_a_channel() -> None:
    def shared(net: Builder, x: str) -> str:
        weight = net.constant("w", net.he(4, 3, 1, 1))
        a, b = net.node("Conv", [x, weight], "first"), net.node("Conv", [x, weight], "second")
        return conv(net, net.node("Concat", [a, b], "both", axis=1), "c", 8, 6)

    model = classifier(shared, 6)
    dependencies = find(model.graph)
    found = scores.magnitude(model.graph, dependencies)
    w, c = (model.constants()[name].values.astype(np.float64) ** 2 for name in ("w", "c.weight"))
    for position, number in enumerate(numbers(dependencies, "w", 0)):
        expected = w[position].sum() / w.sum() + c[:, [position, position + 4]].sum() / c.sum()
        assert found[number] == pytest.approx(expected, rel=1e-5)


def test_a_weight_of_zeros_says_nothing() -> None:
    model = classifier(two, 6)
    model.constants()["c.weight"].values = np.zeros((6, 4, 3, 3), np.float32)
    found = scores.magnitude(model.graph, find(model.graph))
    assert np.isfinite(found).all()
    assert found.any()


def test_random_depends_on_the_seed_alone() -> None:
    dependencies = find(classifier(two, 6).graph)
    one, two_, other = (scores.random(dependencies, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two_)
    assert one.shape == (dependencies.size,)
    assert (one != other).all()
    assert len(set(one)) == len(one)


@pytest.mark.parametrize(("shape", "axis"), [((3, 4), 0), ((3, 4), 1), ((2, 3, 4, 5), 1), ((5, 2, 3), 2)])
def test_along(shape: tuple[int, ...], axis: int) -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, *shape)).astype(np.float32)
    others = tuple(other for other in range(len(shape)) if other != axis)
    found = scores.along(left, right, axis)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, (left * right).sum(others), rtol=1e-5, atol=1e-6)


def test_taylor_and_obd_over_batches() -> None:
    gates = [np.array([1.0, -2.0, 0.0]), np.array([-3.0, 2.0, 0.0])]
    np.testing.assert_array_equal(scores.mean("taylor", gates), [2, 2, 0])
    np.testing.assert_array_equal(scores.mean("obd", gates), [2.5, 2, 0])


def test_readers_are_the_axes_that_are_summed_over() -> None:
    model = classifier(two, 6)
    found = scores.readers(model.graph, find(model.graph))
    assert [(name, axis) for name, axis, _ in found] == [
        *(("a.weight", 1), ("b.weight", 1), ("c.weight", 1), ("fc.weight", 1)),
    ]
    for name, axis, channels in found:
        assert len(channels) == model.constants()[name].shape[axis]


def batches(model: Model) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(3)
    shape = (1, *model.image_shape)
    return [
        (rng.standard_normal(shape).astype(np.float32), rng.integers(0, model.num_classes, 1))
        for _ in range(IMAGES)
    ]


def gates(model: Model, dependencies: Dependencies) -> list[np.ndarray]:
    """dL/dgate of each image, from the training engine's gradients."""
    readers = scores.readers(model.graph, dependencies)
    constants = model.constants()
    weights = {name: constants[name].values for name, _, _ in readers}
    source = ImageGradients(lambda: batches(model), 1, threads=1)
    return [
        scores.gates(weights, found, readers, dependencies.size)
        for found in source.per_batch(model, list(weights))
    ]


def factors(
    model: Model, dependencies: Dependencies, gate: np.ndarray, names: list[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """Every reader's weight with its columns multiplied by the factor of the channel that they read."""
    constants = model.constants()
    padded = np.append(gate, 1.0)  # for what is no channel
    for name, axis, channels in scores.readers(model.graph, dependencies):
        assert name in names
        values = constants[name].values.astype(np.float64)
        shape = [1] * values.ndim
        shape[axis] = -1
        yield name, values * padded[channels].reshape(shape)


@pytest.mark.parametrize("name", ["densenet", "resnet", "mlp", "vgg", "mobilenet_v3"])
def test_gates_are_derivatives_by_a_factor_on_each_channel(name: str) -> None:
    """Central differences along random directions in float64; 1e-4 of the gradient's norm, as of weights."""
    model = from_proto((zoo.ALL | zoo.MORE)[name](**{"size": networks.SIZE}))
    dependencies = find(model.graph)
    names = [weight.name for weight in graphs.weights(model.graph)]
    trainee = _trainee(model, names)
    rng = np.random.default_rng(9)
    for (images, labels), found in zip(batches(model), gates(model, dependencies), strict=True):
        assert found.any()
        reference = Float64(trainee, images, labels)
        (loss,) = reference({}, ["loss"])
        norm = float(np.linalg.norm(found))

        def at(gate: np.ndarray, reference: Float64 = reference) -> float:
            parameters = dict(factors(model, dependencies, gate, names))
            return float(reference(parameters, ["loss"])[0])

        direction, slope = networks.slope(at, np.ones(dependencies.size), float(loss), 3e-5 * norm, rng)
        assert abs(float(found @ direction) - slope) <= networks.TOLERANCE * norm


def test_a_channel_that_nobody_reads_has_no_gate() -> None:
    model = from_proto(zoo.resnet(size=networks.SIZE))
    dependencies = find(model.graph)
    (logits,) = (source.ids for source in dependencies.sources if source.name == "fc.weight")
    for found in gates(model, dependencies):
        assert not found[logits].any()


def test_criteria_are_those_of_the_images() -> None:
    model = from_proto(zoo.resnet(size=networks.SIZE))
    dependencies = find(model.graph)
    each = np.array(gates(model, dependencies))
    np.testing.assert_allclose(scores.mean("taylor", each), np.abs(each).mean(0), rtol=1e-12)
    np.testing.assert_allclose(scores.mean("obd", each), (each**2).mean(0) / 2, rtol=1e-12)
