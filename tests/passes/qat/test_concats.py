"""The form of Concats that is chosen by measurement."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import model as models
from onnxcomp import pipeline
from onnxcomp import recipe as recipes
from onnxcomp.pipeline import Step
from tests import run, zoo
from tests.builder import Builder


def chosen(model: models.Model) -> tuple[str, ...]:
    steps: list[Step] = []
    recipe = recipes.parse("qat{concat=measured}")
    pipeline.apply(model, recipe, calibration=run.Observed(), report=steps.append)
    return tuple(note for note in steps[0].change.notes if note.startswith("concat="))


def test_the_fastest_form_within_a_decibel_of_the_best() -> None:
    (note,) = chosen(models.from_proto(zoo.densenet()))
    mode, _, figures = note.removeprefix("concat=").partition(": SQNR of the logits ")
    found = {name: float(value) for name, value, _ in (part.split() for part in figures.split(", "))}
    assert list(found) == ["shared", "each", "none"]
    fast_enough = [name for name, value in found.items() if value >= max(found.values()) - 1]
    assert mode == fast_enough[0]


def test_a_wide_part_makes_the_shared_scale_too_coarse() -> None:
    model = models.from_proto(zoo.densenet())
    joined = [node for node in model.graph.nodes if node.op == "Concat"]
    weight = joined[0].inputs[1].inputs[0].inputs[1]
    weight.values = weight.values * np.float32(3000)
    (note,) = chosen(model)
    assert not note.startswith("concat=shared")


@pytest.mark.parametrize("network", ["resnet", "mlp"])
def test_nothing_is_measured_without_a_concat(network: str) -> None:
    assert chosen(models.from_proto(zoo.ALL[network]())) == ()


def test_it_is_measured_where_every_part_is_quantised_for_another_reader() -> None:
    """With ``each`` and ``none`` the same tensors have pairs; other nodes read them."""
    net = Builder(0)

    def conv(read: str, name: str, inputs: int) -> str:
        weight = net.constant(f"{name}.w", net.he(16, inputs, 3, 3))
        made = net.node("Conv", [read, weight], f"{name}.made", name, kernel_shape=[3, 3], pads=[1] * 4)
        return net.node("Relu", [made], f"{name}.active")

    first = conv("input", "a", 3)
    second = conv(first, "b", 16)
    both = net.node("Concat", [first, second], "both", axis=1)
    sums = net.node("Add", [conv(second, "c", 16), conv(both, "d", 32)], "sums")
    pooled = net.node("Flatten", [net.node("GlobalAveragePool", [sums], "pooled")], "flat")
    logits = net.node("Gemm", [pooled, net.constant("e.w", net.he(5, 16))], "logits", transB=1)
    (note,) = chosen(models.from_proto(net.model(logits, 17, ("N", 3, 8, 8), 5)))
    assert "each" in note
