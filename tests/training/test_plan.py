from __future__ import annotations

from onnxcomp import model as models
from onnxcomp import pipeline, recipe
from onnxcomp.data import open_data
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.plan import Plan
from onnxcomp.training.ranks import Alone
from tests import zoo


def plan(text: str = "", **settings: float) -> Plan:
    model = models.from_proto(zoo.densenet(size=8, layers=(1, 1), growth=4))
    if text:
        model = pipeline.apply(model, recipe.parse(text))
    return Plan.of(model, open_data("digits"), TrainConfig(threads=1, **settings), Alone())  # type: ignore[arg-type]


def test_lines_count_what_is_due() -> None:
    first, second = plan(epochs=2, checkpoint_every=30, accumulate=2).lines()
    assert first == "44 steps of 64 images, 22 an epoch: 2 epochs"
    assert second == "2 measurements on the test images, 3 checkpoints of which the last 2 stay"


def test_stages_are_told() -> None:
    stages = 'stages=[{"steps":0.5,"losses":{"boundary":1}},{"losses":{"soft_targets":1}}]'
    found = plan(f"distill{{{stages}}}", epochs=1)
    *_, one, two = found.lines()
    assert [one, two] == [found.stages.line(0), found.stages.line(22)]


def test_the_model_that_is_given_stays_as_it_is() -> None:
    model = models.from_proto(zoo.densenet(size=8, layers=(1, 1), growth=4))
    found = Plan.of(model, open_data("digits"), TrainConfig(1, threads=1), Alone())
    assert model.preprocessing is None
    assert found.model.preprocessing is not None
