"""Channels that training closes, step by step, and finalize cuts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxcomp import graphs, pipeline
from onnxcomp.deploy.finalize import finalize_report
from onnxcomp.deploy.targets import get_target
from onnxcomp.errors import PassError
from onnxcomp.model import Model, Role, from_proto
from onnxcomp.passes.channels import find, masks, scores
from onnxcomp.passes.channels.selection import Selection, Wanted
from onnxcomp.recipe import parse
from tests import run, zoo
from tests.builder import Builder, conv
from tests.passes.channels.small import classifier, numbers

TARGET = get_target("xavier")


def selection(model: Model, **options: Any) -> Selection:
    wanted = {"macs": None, "sparsity": 0.5, "allocation": "global", "relative": True, "alignment": 1}
    dependencies = find(model.graph)
    chosen = [group for group in dependencies.groups if group.ids.size]
    return Selection(model.graph, dependencies, chosen, Wanted(**{**wanted, **options}))


def chain(net: Builder, x: str) -> str:
    return conv(net, conv(net, x, "a", 3, 4), "b", 4, 6)


def values(model: Model) -> dict[str, np.ndarray]:
    """Masks as training holds them: arrays by the name of the weight."""
    return {name: mask.values.copy() for name, mask in graphs.masks(model.graph).items()}


@pytest.mark.parametrize("name", zoo.ALL | zoo.MORE)
def test_masks_of_ones_stand_on_all_that_makes_or_reads_a_channel(name: str) -> None:
    plain = from_proto((zoo.ALL | zoo.MORE)[name]())
    model = plain.copy()
    names = masks.insert(model, selection(model))
    found = graphs.masks(model.graph)
    assert set(names) == set(found)
    assert len(names) == len(set(names))
    order = [weight.name for weight in graphs.weights(plain.graph)]
    assert names == sorted(names, key=order.index)
    for weight, mask in found.items():
        assert (mask.values == 1).all()
        assert model.roles[mask.name] is Role.MASK
        assert mask.shape == plain.constants()[weight].shape
    free = {int(n) for group in find(plain.graph).groups for n in group.ids}
    for weight in order:
        axes = find(plain.graph).constants.get(weight, {})
        assert (weight in found) == any(free & set(channels.tolist()) for channels in axes.values())
    images = run.images(model)
    expected = run.logits(plain, images)  # sums may be taken in another order: 1e-6
    np.testing.assert_allclose(
        run.logits(model, images), expected, rtol=0, atol=1e-6 * np.abs(expected).max()
    )


def test_groups_that_are_not_chosen_get_no_mask() -> None:
    model = classifier(lambda net, x: conv(net, chain(net, x), "c", 6, 4), 4)
    dependencies = find(model.graph)
    first = [dependencies.groups[0]]
    wanted = Wanted(None, 0.5, "global", True, 1)
    assert masks.insert(model, Selection(model.graph, dependencies, first, wanted)) == [
        "a.weight",
        "b.weight",
    ]


def test_closing_and_what_is_closed() -> None:
    model = classifier(chain, 6)
    masks.insert(model, selection(model))
    dependencies, arrays = find(model.graph), values(model)
    a, b = numbers(dependencies, "a.weight", 0), numbers(dependencies, "b.weight", 0)
    assert masks.closed(dependencies, arrays).tolist() == []
    gone = np.array([a[1], b[0], b[4]])
    masks.close(dependencies, arrays, gone)
    assert masks.closed(dependencies, arrays).tolist() == sorted(gone.tolist())
    expected = np.ones((6, 4), np.float32)
    expected[[0, 4]] = 0
    expected[:, 1] = 0
    np.testing.assert_array_equal(
        arrays["b.weight"], np.broadcast_to(expected[:, :, None, None], (6, 4, 3, 3))
    )
    assert arrays["a.weight"].sum() == 3 * 27
    assert arrays["fc.weight"].sum() == 5 * 4


def test_closed_channels_stay_closed() -> None:
    model = classifier(chain, 6)
    masks.insert(model, selection(model))
    dependencies, arrays = find(model.graph), values(model)
    a = numbers(dependencies, "a.weight", 0)
    masks.close(dependencies, arrays, np.array([a[1]]))
    masks.close(dependencies, arrays, np.array([a[2]]))
    assert masks.closed(dependencies, arrays).tolist() == [a[1], a[2]]


def test_a_channel_with_one_open_weight_is_not_closed() -> None:
    model = classifier(chain, 6)
    masks.insert(model, selection(model))
    dependencies, arrays = find(model.graph), values(model)
    a = numbers(dependencies, "a.weight", 0)
    masks.close(dependencies, arrays, np.array(a[:2]))
    arrays["b.weight"][3, a[0], 1, 1] = 1
    assert masks.closed(dependencies, arrays).tolist() == [a[1]]


@pytest.mark.parametrize("alignment", [1, 4])
@pytest.mark.parametrize("name", ["densenet", "resnet", "mobilenet", "mobilenet_v3", "vit"])
def test_step_by_step_and_then_finalize(name: str, alignment: int) -> None:
    """Each step's choice includes the one before; finalize cuts exactly what the last one closed."""
    model = from_proto((zoo.ALL | zoo.MORE)[name]())
    model.given["alignment"] = alignment
    masks.insert(model, selection(model, alignment=alignment))
    chooser = selection(model, alignment=alignment)
    arrays = values(model)
    dependencies = chooser.dependencies
    gone = masks.closed(dependencies, arrays)
    for step, progress in enumerate((0.0, 0.4, 0.8, 1.0)):
        found = chooser.choose(scores.random(dependencies, step), progress, gone)
        assert found is not None
        assert set(gone.tolist()) <= set(found.tolist())
        masks.close(dependencies, arrays, found)
        gone = masks.closed(dependencies, arrays)
        assert gone.tolist() == sorted(found.tolist())
    for weight, mask in graphs.masks(model.graph).items():
        mask.values = arrays[weight]
    images = run.images(model)
    expected = run.logits(model, images)
    result, report = finalize_report(model, TARGET)
    assert report.channels == len(gone) > 0
    found = run.logits(result, images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("recipe", "pattern"),
    [("", ""), ("qat", ""), ("prune{sparsity=0.5}", ""), ("prune{pattern=2:4},qat", "2:4")],
)
def test_the_pattern_of_masks(recipe: str, pattern: str) -> None:
    assert masks.mask_pattern(parse(recipe).passes if recipe else ()) == pattern


def test_channels_do_not_break_the_pattern_of_masks() -> None:
    masked = pipeline.apply(from_proto(zoo.resnet()), parse("prune{pattern=2:4 schedule=one-shot}"))
    for model, recipe in ((masked, ""), (from_proto(zoo.resnet()), "prune{pattern=2:4},")):
        with pytest.raises(PassError, match="channels: would break the pattern 2:4 of the masks"):
            pipeline.apply(model, parse(f"{recipe}channels{{align=4}}"))
