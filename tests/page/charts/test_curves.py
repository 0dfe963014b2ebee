"""What a training did over its steps."""

from __future__ import annotations

import re

from onnxcomp.page.charts import curves
from onnxcomp.page.metrics import Points, Stage, Training


def training(count: int = 10, stages: tuple[Stage, ...] = (), **series: Points) -> Training:
    line = tuple((float(step), 1.0 / step) for step in range(1, count + 1))
    found = {"loss/total": line, "loss/task": line, "accuracy/test": line, "lr": line, **series}
    return Training("run", {}, found, stages, count, 1.0, ())


def titles(found: Training) -> list[str]:
    chart = curves.curves("t", found)
    assert chart is not None
    return re.findall(r"<text[^>]*>([^<]*)</text>", chart.svg)


def test_a_panel_for_each_group_that_moves() -> None:
    zeros: Points = ((1.0, 0.0), (2.0, 0.0))
    shown = titles(training(sparsity=zeros))
    assert {"Loss", "Accuracy [%]", "Learning rate", "total", "test"} <= set(shown)
    assert "Weights that are 0 [%]" not in shown
    assert "task" not in shown, "the total of one loss is that loss"
    assert "Weights that are 0 [%]" in titles(training(sparsity=((1.0, 0.0), (2.0, 0.5))))


def test_a_wide_loss_is_logarithmic_without_markup() -> None:
    shown = titles(training(1000))
    assert "0.01" in shown
    assert not any("$" in text for text in shown)


def test_a_long_run_is_thinned_and_its_end_kept() -> None:
    few, many = curves.curves("t", training(300)), curves.curves("t", training(30_000))
    assert few is not None
    assert many is not None
    assert len(many.svg) < 1.3 * len(few.svg)
    points = tuple((float(step), 0.0) for step in range(1001))
    thinned = curves._thinned(points)
    assert len(thinned) <= curves.MOST + 1
    assert (thinned[0], thinned[-1]) == (points[0], points[-1])


def test_stages_are_marked() -> None:
    one, two = Stage(0, 5, ("a",)), Stage(5, 10, ("b",))
    plain, staged = curves.curves("t", training()), curves.curves("t", training(stages=(one, two)))
    assert plain is not None
    assert staged is not None
    assert staged.svg.count("stroke-dasharray") == plain.svg.count("stroke-dasharray") + 3


def test_the_ends_in_words_and_nothing_of_nothing() -> None:
    assert curves.text(training()).startswith("Training of run: 10 steps, 1 epochs; loss from 1 to 0.1; ")
    assert curves.curves("t", Training("run", {}, {}, (), 0, 0.0, ())) is None
