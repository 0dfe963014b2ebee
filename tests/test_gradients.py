"""Gradients of a network in inference mode, by the weights that are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxcomp import gradients, graphs
from onnxcomp.data import DataSet, ImageSet
from onnxcomp.errors import ModelError, TrainingError
from onnxcomp.gradients import Batch, ImageGradients
from onnxcomp.model import Model, Preprocessing, Role, from_proto
from onnxcomp.models.densenet import DenseNet
from tests import zoo
from tests.float64 import Float64
from tests.training import networks
from tests.training.networks import TOLERANCE, batch, zoo_compression

NETWORKS = zoo.ALL | zoo.MORE
IMAGES = 2


def inference(name: str, **options: Any) -> Model:
    return from_proto(NETWORKS[name](**{"size": networks.SIZE, **options}))


def weights(model: Model) -> list[str]:
    return [weight.name for weight in graphs.weights(model.graph)]


def one_by_one(model: Model) -> list[Batch]:
    return [batch(seed, model.image_shape[1], 1) for seed in range(IMAGES)]


def copies(model: Model, given: list[Batch], names: list[str]) -> list[dict[str, np.ndarray]]:
    source = ImageGradients(lambda: given, len(given[0][1]), threads=1)
    return [{n: g.copy() for n, g in item.items()} for item in source.per_batch(model, names)]


def assert_slopes(model: Model, names: list[str]) -> None:
    """Each image's gradients are central differences of the float64 network in inference mode."""
    given = one_by_one(model)
    trainee = gradients._trainee(model, names)
    rng = np.random.default_rng(9)
    constants = {name: model.constants()[name].values.astype(np.float64) for name in names}
    for (images, labels), found in zip(given, copies(model, given, names), strict=True):
        assert list(found) == names
        reference = Float64(trainee, images, labels)
        (loss,) = reference({}, ["loss"])
        for name, gradient in found.items():
            assert gradient.any(), name
            norm = float(np.linalg.norm(gradient))

            def at(values: np.ndarray, name: str = name, reference: Float64 = reference) -> float:
                return float(reference({name: values}, ["loss"])[0])

            direction, slope = networks.slope(at, constants[name], float(loss), 3e-5 * norm, rng)
            assert abs(float((gradient * direction).sum()) - slope) <= TOLERANCE * norm, name


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_as_the_user_has_it(name: str) -> None:
    model = inference(name)
    assert_slopes(model, weights(model))


@pytest.mark.parametrize("passes", ["prune", "prune,qat,distill"])
@pytest.mark.parametrize("name", ["densenet", "mobilenet", "vit"])
def test_every_kind_of_node_that_passes_insert(name: str, passes: str) -> None:
    model = zoo_compression(name, passes)
    assert_slopes(model, weights(model))


def test_a_fixed_batch_does_not_matter() -> None:
    free, fixed = inference("densenet"), inference("densenet", batch=4)
    names = weights(free)
    for one, two in zip(*(copies(m, one_by_one(m), names) for m in (free, fixed)), strict=True):
        assert all(one[name].tobytes() == two[name].tobytes() for name in names)


def test_a_batch_has_the_mean_of_its_images() -> None:
    model = inference("densenet")
    names = weights(model)[:3]
    given = one_by_one(model)
    images, labels = (np.concatenate(parts) for parts in zip(*given, strict=True))
    (found,) = copies(model, [(images, labels)], names)
    singles = copies(model, given, names)
    for name in names:
        expected = np.mean([single[name] for single in singles], 0)
        # float32 sums in another order.
        np.testing.assert_allclose(found[name], expected, atol=1e-5 * np.abs(expected).max(), rtol=0)


def test_masked_weights_have_no_gradient_and_the_named_ones_alone_have_one() -> None:
    model = zoo_compression("resnet", "prune")
    name, mask = next(iter(graphs.masks(model.graph).items()))
    closed = np.random.default_rng(0).random(mask.shape) > 0.5
    mask.values = np.where(closed, 0, 1).astype(np.float32)
    (found, _) = copies(model, one_by_one(model), [name])
    assert list(found) == [name]
    assert not found[name][closed].any()
    assert found[name][~closed].any()


def test_the_network_stays_as_it_is_and_a_second_look_sees_the_same() -> None:
    model = zoo_compression("densenet", "prune,qat")
    before = {name: constant.values.copy() for name, constant in model.constants().items()}
    roles, outputs = dict(model.roles), [output.name for output in model.graph.outputs]
    names = weights(model)
    first, second = (copies(model, one_by_one(model), names) for _ in range(2))
    for one, two in zip(first, second, strict=True):
        assert all(one[name].tobytes() == two[name].tobytes() for name in names)
    assert (roles, outputs) == (model.roles, [output.name for output in model.graph.outputs])
    for name, constant in model.constants().items():
        np.testing.assert_array_equal(constant.values, before[name])


def test_a_weight_that_the_logits_do_not_depend_on_has_zeros() -> None:
    net = networks.Builder(0)
    x = networks.conv(net, "input", "cut", 3, 4)
    x = net.node("Cast", [net.node("Cast", [x], "whole", to=7)], "back", to=1)
    x = networks.conv(net, x, "conv", 4, 4)
    model = from_proto(net.model(networks.head(net, x, "fc", 4, 10), 17, ("N", 3, 8, 8), 10))
    (found, _) = copies(model, one_by_one(model), ["cut.weight", "conv.weight"])
    assert found["cut.weight"].shape == (4, 3, 3, 3)
    assert not found["cut.weight"].any()
    assert found["conv.weight"].any()


def test_what_is_not_finite_is_refused() -> None:
    model = inference("resnet")
    images, labels = batch(0, networks.SIZE, 1)
    with pytest.raises(ModelError, match=r"gradients: the loss is nan; check the weights and the data"):
        copies(model, [(images * np.float32(np.nan), labels)], weights(model))
    values = {"huge": np.full((2, 2), 3e38, np.float32), "bad": np.array([1, np.inf], np.float32)}
    gradients._check(1.0, {"huge": values["huge"]})
    with pytest.raises(ModelError, match="the gradient of bad is not finite"):
        gradients._check(1.0, values)


def test_an_operator_without_gradient_is_refused_by_name() -> None:
    model = from_proto(networks.around("Ceil"))
    with pytest.raises(TrainingError, match=r"node tested: its operator Ceil has no gradient"):
        copies(model, one_by_one(model), ["first.weight"])


def numbered(count: int) -> DataSet:
    """Images of one colour each: image i is i everywhere, its label i modulo 10."""
    pixels = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 16, 16, 3))
    images = ImageSet.from_arrays(pixels.copy(), np.arange(count) % 10, tuple("0123456789"))
    return DataSet("numbered", images, images)


@pytest.mark.parametrize(("images", "size", "expected"), [(5, 1, 5), (5, 4, 8), (500, 1, 100)])
def test_images_come_with_their_labels_evenly_spaced(images: int, size: int, expected: int) -> None:
    model = inference("mlp", size=16)
    model.preprocessing = Preprocessing((0.0,) * 3, (1.0,) * 3)
    source = gradients.from_data(model, numbered(100), images=images, threads=1, batch_size=size)
    found = list(source.batches())
    assert [len(labels) for _, labels in found] == [size] * (expected // size)
    seen = [int(image[0, 0, 0]) for pixels, _ in found for image in pixels]
    assert sorted(seen) == np.linspace(0, 99, expected).astype(int).tolist()
    assert [int(label) for _, labels in found for label in labels] == [i % 10 for i in seen]


def test_the_trainee_trains_weights_alone() -> None:
    model = zoo_compression("densenet", "prune,qat,distill")
    trainee = gradients._trainee(model, ["classifier.weight"])
    trained = [name for name, role in trainee.roles.items() if role is Role.TRAINABLE]
    assert sorted(trained) == sorted(weights(trainee))
    assert set(trainee.roles.values()) == {Role.TRAINABLE, Role.MASK, Role.SCALE}
    assert not any(node.name.startswith(graphs.TEACHER_PREFIX) for node in trainee.graph.nodes)
    assert list(trainee.losses) == ["loss/task"]


@pytest.mark.parametrize("chosen", [slice(1, None), slice(1, -1), slice(3, 4)], ids=str)
def test_some_weights_behind_a_pooling_and_not_the_one_before_it(chosen: slice) -> None:
    """Their gradients are those that all weights together have."""
    small = DenseNet(growth=4, blocks=(2, 2), features=8)
    model = from_proto(small.proto("small", num_classes=10, input_size=32, stem="imagenet", seed=0))
    names = weights(model)
    images, labels = batch(0, 32, 1)
    (every,) = copies(model, [(images, labels)], names)
    (some,) = copies(model, [(images, labels)], names[chosen])
    assert list(some) == names[chosen]
    for name, gradient in some.items():
        np.testing.assert_array_equal(gradient, every[name])
