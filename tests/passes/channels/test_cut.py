"""The cut itself: constants, shapes, roles; and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import pipeline
from onnxcomp import recipe as recipes
from onnxcomp.model import from_proto, to_proto
from onnxcomp.passes.channels import cut, find
from tests import classifiers, run, zoo
from tests.builder import Builder, bn_relu, conv
from tests.passes.channels.small import after, check, classifier, half, numbers, zeroed

NETWORKS = zoo.ALL | zoo.MORE
OPSETS = {"densenet": 13, "mobilenet_v3": 13, "vit": 20, "mobilenet": 18, "mlp": 21, "resnet": 18, "vgg": 14}


@pytest.mark.parametrize("batch", ["N", 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_without_half_of_its_channels(name: str, batch: str | int) -> None:
    model = from_proto(NETWORKS[name](OPSETS[name], batch))
    result = after(model, half(model))
    before, left = (sum(c.values.size for c in m.constants().values()) for m in (model, result))
    assert left < 0.9 * before


@pytest.mark.parametrize("passes", ["prune{keep_first=false keep_last=false}", "qat", "prune,qat,distill"])
@pytest.mark.parametrize("name", ["densenet", "resnet", "mobilenet", "mobilenet_v3"])
def test_compression_forms(name: str, passes: str) -> None:
    """Masks and scales are cut with their weights; teacher and losses still compute."""
    plain = from_proto(NETWORKS[name]())
    model = pipeline.apply(plain, recipes.parse(passes), calibration=run.Observed())
    dependencies, gone = find(model.graph), half(model)
    result = model.copy()
    cut(result, dependencies, gone)
    check(result)
    images = run.images(model)
    before, found = run.outputs(zeroed(model, dependencies, gone), images), run.outputs(result, images)
    assert before.keys() == found.keys()
    for output, expected in before.items():
        np.testing.assert_allclose(found[output], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    constants = result.constants()
    for constant, role in result.roles.items():
        assert constant in constants, f"the {role} {constant} is gone"


def chain(net: Builder, x: str) -> str:
    return bn_relu(net, conv(net, conv(net, x, "a", 3, 4), "b", 4, 6), "norm", 6)


def test_constants_lose_the_rows_and_columns_of_what_is_gone() -> None:
    model = classifier(chain, 6)
    found = find(model.graph)
    a, b = numbers(found, "a.weight", 0), numbers(found, "b.weight", 0)
    before = {name: constant.values.copy() for name, constant in model.constants().items()}
    after_cut = after(model, [a[1], b[0], b[5]]).constants()
    np.testing.assert_array_equal(after_cut["a.weight"].values, before["a.weight"][[0, 2, 3]])
    expected = before["b.weight"][1:5][:, [0, 2, 3]]
    np.testing.assert_array_equal(after_cut["b.weight"].values, expected)
    assert after_cut["b.weight"].values.flags.c_contiguous
    for kind in ("weight", "bias", "running_mean", "running_var"):
        np.testing.assert_array_equal(after_cut[f"norm.{kind}"].values, before[f"norm.{kind}"][1:5])
    np.testing.assert_array_equal(after_cut["fc.weight"].values, before["fc.weight"][:, 1:5])
    np.testing.assert_array_equal(after_cut["fc.bias"].values, before["fc.bias"])
    for name, values in before.items():
        np.testing.assert_array_equal(model.constants()[name].values, values, "the original's are its own")


def test_nothing_gone_is_nothing_changed() -> None:
    for network in zoo.ALL.values():
        model = from_proto(network())
        before = to_proto(model)
        cut(model, find(model.graph), [])
        assert to_proto(model) == before


def test_one_channel_is_left_at_the_least() -> None:
    model = classifier(chain, 6)
    found = find(model.graph)
    a = numbers(found, "a.weight", 0)
    after(model, a[:3])
    before = to_proto(model)
    with pytest.raises(ValueError, match="a tensor would lose all of its channels"):
        cut(model, found, a)
    assert to_proto(model) == before


def test_one_channel_of_every_tensor_is_left() -> None:
    """A part of a Concat is a tensor too, and so is what a Slice takes of one."""
    model = from_proto(zoo.densenet())
    found = find(model.graph)
    layer = numbers(found, "features.denseblock1.denselayer1.conv2.weight", 0)
    with pytest.raises(ValueError, match="a tensor would lose all of its channels"):
        cut(model, found, layer)


def test_only_what_can_go_goes() -> None:
    model = classifier(chain, 6)
    found = find(model.graph)
    logits = numbers(found, "fc.weight", 0)
    for number in (logits[0], -1, found.size):
        with pytest.raises(ValueError, match=rf"\[{number}\] are not channels that can go"):
            cut(model, found, [number])


def test_a_cut_network_can_be_cut_again() -> None:
    model = classifiers.NETWORKS["resnet18"]()
    once = after(model, half(model, 0, share=0.3))
    twice = after(once, half(once, 1, share=0.3))
    widths = [sum(group.ids.size for group in find(network.graph).groups) for network in (model, once, twice)]
    assert widths[0] > widths[1] > widths[2]


def test_the_cut_network_survives_its_file() -> None:
    model = from_proto(NETWORKS["mobilenet_v3"]())
    result = after(model, half(model))
    again = from_proto(to_proto(result))
    images = run.images(model)
    np.testing.assert_array_equal(run.logits(again, images), run.logits(result, images))
    assert to_proto(again) == to_proto(result)
