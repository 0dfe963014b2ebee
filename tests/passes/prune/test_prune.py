"""The pass: which weights get a mask, how far it is closed at once, and what training is to reach."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcomp import graphs, pipeline
from onnxcomp import model as models
from onnxcomp import recipe as recipes
from onnxcomp.errors import PassError
from onnxcomp.model import Model
from onnxcomp.passes.prune import Prune, masks
from onnxcomp.recipe import Recipe
from tests import run, zoo
from tests.passes.prune import fake

ONCE: dict[str, Any] = {"schedule": "one-shot"}


def load(network: str) -> Model:
    return models.from_proto(zoo.ALL[network]())


def apply(model: Model, prune: Prune, **context: Any) -> tuple[Model, tuple[str, ...]]:
    steps: list[pipeline.Step] = []
    result = pipeline.apply(model, Recipe((prune,)), report=steps.append, **context)
    return result, steps[0].change.notes


def masks_of(model: Model) -> dict[str, np.ndarray]:
    return {name: mask.values for name, mask in graphs.masks(model.graph).items()}


def masked(network: str, recipe: str) -> set[str]:
    model = pipeline.apply(load(network), recipes.parse(recipe))
    found = graphs.masks(model.graph)
    for weight, mask in found.items():
        assert mask.name == f"{weight}.mask"
        assert mask.values.shape == model.constants()[weight].values.shape
        assert (mask.values == np.float32(1)).all()
    return set(found)


@pytest.mark.parametrize("network", ["densenet", "resnet", "mobilenet"])
def test_first_and_last_stay_dense_by_default(network: str) -> None:
    every = [w.name for w in graphs.weights(load(network).graph)]
    assert masked(network, "prune") == set(every[1:-1])
    assert masked(network, "prune{keep_first=false}") == set(every[:-1])
    assert masked(network, "prune{keep_last=false}") == set(every[1:])


def test_patterns_of_names_exclude() -> None:
    names = masked("densenet", 'prune{exclude=["*.conv1.weight"]}')
    assert names
    assert not any(name.endswith("conv1.weight") for name in names)


def test_biases_and_norms_are_never_pruned() -> None:
    names = masked("densenet", "prune{keep_first=false keep_last=false}")
    assert all(name.endswith("weight") and "norm" not in name for name in names)


@pytest.mark.parametrize("name", ["prune", "qat"])
def test_a_pattern_may_stand_alone_but_must_match(name: str) -> None:
    model = load("densenet")
    recipe = recipes.parse(f"{name}{{exclude=classifier*}}")
    assert recipe == recipes.parse(f'{name}{{exclude=["classifier*"]}}')
    pipeline.apply(model, recipe, calibration=run.Observed())
    with pytest.raises(PassError, match=f"{name}: exclude names head, which is no weighted layer"):
        pipeline.apply(model, recipes.parse(f"{name}{{exclude=head}}"), calibration=run.Observed())


@pytest.mark.parametrize("network", ["densenet", "resnet", "mobilenet"])
@pytest.mark.parametrize(
    ("options", "share"),
    [
        ({}, 0.0),
        ({"initial": 0.3}, 0.3),
        ({"begin": 0.5, "end": 0.9, "initial": 0.3}, 0.3),
        ({"end": 0}, 0.8),
        ({"schedule": "iterative", "initial": 0.2}, 0.2),
        ({"schedule": "iterative", "frequency": 100, "end": 900}, 0.0),
        ({"schedule": "ramp"}, 0.0),
        ({"schedule": "ramp", "end": 0}, 0.8),
        ({"schedule": "one-shot"}, 0.8),
        ({"schedule": "one-shot", "begin": 0.1}, 0.0),
        ({"schedule": "one-shot", "begin": 7}, 0.0),
        ({"schedule": "one-shot", "pattern": "1:2", "keep_first": False}, 0.5),
    ],
    ids=str,
)
def test_apply_closes_what_the_schedule_wants_before_the_first_step(
    network: str, options: dict[str, Any], share: float
) -> None:
    prune = Prune(**options)
    result, notes = apply(load(network), prune)
    found = masks_of(result)
    size = sum(mask.size for mask in found.values())
    assert masks.sparsity_of(found) == pytest.approx(share, abs=0.5 / size + 1e-12)  # to half a weight
    assert any("are zero" in note for note in notes) == bool(share)
    again = {name: mask.copy() for name, mask in found.items()}
    constants = result.constants()
    schedule = prune.over(1000)
    masks.update(prune.plan(result), lambda name: np.abs(constants[name].values), again, schedule, 0)
    assert all(np.array_equal(again[name], mask) for name, mask in found.items())


@pytest.mark.parametrize("network", ["densenet", "mobilenet"])
@pytest.mark.parametrize("allocation", ["global", "uniform", "class-distribution", "erk"])
def test_the_masked_network_is_the_one_with_those_weights_zero(network: str, allocation: str) -> None:
    model = load(network)
    result, _ = apply(model, Prune(sparsity=0.6, allocation=allocation, **ONCE))  # type: ignore[arg-type]
    zeroed = model.copy()
    constants = zeroed.constants()
    for name, mask in masks_of(result).items():
        constants[name].values = constants[name].values * mask
    images = run.images(model)
    # The same kernels on the same products.
    np.testing.assert_allclose(run.logits(result, images), run.logits(zeroed, images), atol=1e-6)
    assert not np.allclose(run.logits(result, images), run.logits(model, images), atol=1e-3)


@pytest.mark.parametrize("allocation", ["global", "uniform", "class-distribution", "erk"])
def test_allocations_reach_the_share_over_all(allocation: str) -> None:
    result, notes = apply(load("densenet"), Prune(sparsity=0.7, allocation=allocation, **ONCE))  # type: ignore[arg-type]
    found = masks_of(result)
    size = sum(mask.size for mask in found.values())
    # To half a weight of each tensor.
    assert masks.sparsity_of(found) == pytest.approx(0.7, abs=0.5 * len(found) / size)
    assert f"{len(found)} weights masked, {size:,} values" in notes
    shares = {round(float((mask == 0).mean()), 2) for mask in found.values()}
    assert (len(shares) == 1) == (allocation == "uniform")


@pytest.mark.parametrize("network", ["densenet", "resnet", "mobilenet", "mlp"])
@pytest.mark.parametrize("pattern", ["2:4", "4x1", "1x8"])
def test_what_a_pattern_does_not_fit_stays_dense_and_is_listed(network: str, pattern: str) -> None:
    model = load(network)
    prune = Prune(pattern=pattern, keep_first=False, keep_last=False, **ONCE)
    result, notes = apply(model, prune)
    found = masks_of(result)
    listed = next((note for note in notes if note.startswith("left alone: ")), "")
    for weight in graphs.weights(model.graph):
        shape, transposed = weight.tensor.shape, weight.axis == 1
        group = int(weight.node.attrs.get("group", 1))
        inputs, outputs = (shape[0], shape[1]) if transposed else (shape[1], shape[0] // group)
        size, channels = {"2:4": (4, inputs), "4x1": (4, outputs), "1x8": (8, inputs)}[pattern]
        assert (weight.name in found) == (channels % size == 0)
        if channels % size:
            what = ("output" if pattern == "4x1" else "input") + (" is" if channels == 1 else "s are")
            assert f"{weight.name} ({channels} {what} not divisible by {size})" in listed
            continue
        mask = np.moveaxis(found[weight.name], 1 if not transposed else 0, -1)
        if pattern == "2:4":
            assert (mask.reshape(*mask.shape[:-1], -1, 4).sum(-1) == 2).all()
    assert bool(listed) == (len(found) < len(list(graphs.weights(model.graph))))


@pytest.mark.parametrize("criterion", ["taylor", "obd"])
def test_gradients_decide(criterion: str) -> None:
    model = load("resnet")
    gradients = fake.Gradients()
    prune = Prune(sparsity=0.5, allocation="uniform", criterion=criterion, **ONCE)  # type: ignore[arg-type]
    result, _ = apply(model, prune, gradients=gradients)
    found, constants = masks_of(result), model.constants()
    assert set(gradients.asked) == set(found)
    batches = list(fake.Gradients().per_batch(model, list(found)))
    for name, mask in found.items():
        weight = constants[name].values.astype(np.float64)
        each = np.stack([batch[name] for batch in batches]).astype(np.float64)
        scores = (
            np.abs(weight) * np.abs(each).mean(0) if criterion == "taylor" else weight**2 * (each**2).mean(0)
        )
        # One product of float32 decides between neighbours.
        assert scores[mask == 0].max() <= scores[mask == 1].min() * (1 + 1e-5)
        assert (mask == 0).sum() == round(mask.size / 2)


@pytest.mark.parametrize("criterion", ["taylor", "obd"])
def test_data_is_asked_for_only_where_something_closes_before_training(criterion: str) -> None:
    gradients = fake.Gradients()
    apply(load("resnet"), Prune(criterion=criterion), gradients=gradients)  # type: ignore[arg-type]
    assert gradients.asked == []
    apply(load("resnet"), Prune(criterion=criterion))  # type: ignore[arg-type]


def test_random_is_a_function_of_the_seed() -> None:
    found = [
        masks_of(apply(load("resnet"), Prune(criterion="random", seed=seed, **ONCE))[0]) for seed in (1, 1, 2)
    ]
    names = list(found[0])
    assert all(np.array_equal(found[0][name], found[1][name]) for name in names)
    assert not any(np.array_equal(found[0][name], found[2][name]) for name in names)


def test_layers_come_before_all_other_options() -> None:
    model = load("densenet")
    first, *_, last = (weight.name for weight in graphs.weights(model.graph))
    layers = {first: 0.25, "*denselayer1.conv1*": 0.5, "*.conv1.*": 0.0, last: 0.125}
    prune = Prune(sparsity=0.9, layers=layers, **ONCE)
    assert recipes.parse(str(Recipe((prune,)))) == Recipe((prune,))
    found = {name: float((mask == 0).mean()) for name, mask in masks_of(apply(model, prune)[0]).items()}
    assert found[first] == 0.25
    assert found[last] == 0.125
    conv1 = {name for name in model.constants() if name.endswith("conv1.weight")}
    assert {name for name in conv1 if name in found} == {name for name in conv1 if "denselayer1." in name}
    assert {found[name] for name in conv1 if name in found} == {0.5}
    rest = {name: share for name, share in found.items() if name not in conv1 and name not in (first, last)}
    sizes = {name: model.constants()[name].values.size for name in rest}
    total = sum(sizes.values())
    assert sum(rest[n] * sizes[n] for n in rest) == pytest.approx(0.9 * total, abs=0.5)  # half a weight


@pytest.mark.parametrize(
    "prune",
    [
        Prune(sparsity=0.7),
        Prune(sparsity=0.7, allocation="class-distribution"),
        Prune(sparsity=0.7, allocation="erk"),
        Prune(pattern="2:4", keep_last=False, schedule="ramp"),
        Prune(pattern="2x1", layers={"*conv2*": 0.3}),
    ],
    ids=str,
)
@pytest.mark.parametrize("network", ["densenet", "resnet"])
def test_training_and_a_copy_see_the_same_plan(network: str, prune: Prune, tmp_path: Path) -> None:
    if prune.layers and network == "resnet":
        prune = Prune(pattern="2x1", layers={"*layer2*conv2*": 0.3})
    model = load(network)
    before = prune.plan(model)
    result, _ = apply(model, prune)
    assert prune.plan(result) == before
    assert set(graphs.masks(result.graph)) == set(before.names)
    models.save(result, tmp_path / "c.onnx")
    (loaded,) = recipes.parse(result.recipe).passes
    assert loaded == prune
    assert loaded.plan(models.load(tmp_path / "c.onnx")) == before


def test_a_matrix_is_taken_along_the_axis_that_is_summed_over() -> None:
    model = load("mlp")
    result, _ = apply(model, Prune(pattern="2:4", keep_first=False, keep_last=False, **ONCE))
    found = masks_of(result)
    assert set(found) == {"w1", "w2"}  # Gemm with transB=0 and MatMul: (inputs, outputs)
    for mask in found.values():
        assert (mask.reshape(-1, 4, mask.shape[1]).sum(1) == 2).all()


def sensitivity(model: Model, path: Path, drops: dict[str, float]) -> Path:
    """Curves with a drop of so many points at 0.5, and twice that at 0.9."""
    layers = {
        weight.name: {
            "0.5": {"top1": 90 - drops.get(weight.name, 1.0), "loss": 1.0},
            "0.9": {"top1": 90 - 2 * drops.get(weight.name, 1.0), "loss": 1.0},
        }
        for weight in graphs.weights(model.graph)
    }
    content = {"format": "onnxcomp.sensitivity.1", "dense": {"top1": 90.0, "loss": 1.0}, "layers": layers}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_measured_curves_say_how_much_of_each_goes_and_the_file_keeps_it(tmp_path: Path) -> None:
    model = load("resnet")
    names = [weight.name for weight in graphs.weights(model.graph)]
    drops = {names[1]: 0.0, names[2]: 4.0, names[3]: 1e9}
    path = sensitivity(model, tmp_path / "s.json", drops)
    prune = Prune(allocation="sensitivity", sensitivity=str(path), max_drop=2.0, keep_last=False, **ONCE)
    result, notes = apply(model, prune)
    expected = dict.fromkeys(names[1:], 0.9)  # a drop of 2 at 0.9
    expected[names[2]] = 0.25
    models.save(result, tmp_path / "c.onnx")
    path.unlink()
    loaded = models.load(tmp_path / "c.onnx")
    assert loaded.sparsities == pytest.approx({**expected, names[3]: 0.0}, abs=1e-8)  # 1e-9, no weight
    del expected[names[3]]
    assert f"left alone: {names[3]} (none of it may go)" in notes
    for group in prune.plan(loaded).groups:
        assert group.sparsity == pytest.approx(expected.pop(group.names[0]), abs=1e-8)
    assert not expected
    for name, mask in masks_of(result).items():
        assert abs(int((mask == 0).sum()) - loaded.sparsities[name] * mask.size) <= 0.5 + 1e-6


def test_a_weight_of_two_nodes_that_use_it_differently_has_no_pattern() -> None:
    rng = np.random.default_rng(0)
    first = rng.standard_normal((3, 8)).astype(np.float32)
    square = rng.standard_normal((8, 8)).astype(np.float32)
    head = rng.standard_normal((8, 3)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
        onnx.helper.make_node("Flatten", ["pooled"], ["flat"]),
        onnx.helper.make_node("MatMul", ["flat", "first"], ["wide"], name="first"),
        onnx.helper.make_node("Gemm", ["wide", "square"], ["one"], name="one"),
        onnx.helper.make_node("Relu", ["one"], ["active"]),
        onnx.helper.make_node("Gemm", ["active", "square"], ["two"], name="two", transB=1),
        onnx.helper.make_node("MatMul", ["two", "head"], ["output"], name="head"),
    ]
    weights = {"first": first, "square": square, "head": head}
    values = [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()]
    info = onnx.helper.make_tensor_value_info
    ends = [info("input", 1, ["N", 3, 4, 4])], [info("output", 1, ["N", 3])]
    graph = onnx.helper.make_graph(nodes, "shared", *ends, values)
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    model = models.from_proto(proto)
    result, notes = apply(model, Prune(pattern="2:4", keep_first=False, keep_last=False, **ONCE))
    assert set(masks_of(result)) == {"head"}
    assert any("square (another node uses it transposed)" in note for note in notes)
    result, _ = apply(model, Prune(keep_first=False, keep_last=False, **ONCE))
    assert set(masks_of(result)) == set(weights)


def test_the_weights_and_the_given_model_stay_as_they_are() -> None:
    model = load("densenet")
    before = {name: tensor.values.copy() for name, tensor in model.constants().items()}
    result, _ = apply(model, Prune(**ONCE))
    assert not graphs.masks(model.graph)
    after = result.constants()
    for name, values in before.items():
        assert np.array_equal(model.constants()[name].values, values)
        assert np.array_equal(after[name].values, values)
