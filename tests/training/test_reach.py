from __future__ import annotations

import pytest

from onnxcomp import pipeline, recipe
from onnxcomp.errors import TrainingError
from onnxcomp.model import Model, Role, from_proto
from onnxcomp.passes.distill.ends import stage_ends
from onnxcomp.training.reach import check, reached
from onnxcomp.training.stages import Stages
from tests import zoo

STEPS = 100


def network(prune: str, first: str) -> Model:
    """Two stages, the first with hints at the first pair of stages and ``first``."""
    model = from_proto(zoo.densenet(size=16))
    end = stage_ends(model.graph)[0].name
    stages = f'[{{"losses":{{"hints":1{first}}},"steps":0.5}},{{"losses":{{"task":1}}}}]'
    text = f'{prune},distill{{pairs=[["{end}","{end}"]] stages={stages}}}'
    return pipeline.apply(model, recipe.parse(text))


def test_a_loss_reaches_what_it_is_computed_from() -> None:
    model = network("prune", "")
    weights = {name for name, role in model.roles.items() if role is Role.TRAINABLE and "." in name}
    weights -= {name for name in weights if name.startswith("loss/")}
    early, late = (reached(model, [name]) & weights for name in ("loss/hints", "loss/task"))
    assert early < late
    assert "classifier.weight" in late - early


@pytest.mark.parametrize("criterion", ["taylor", "obd"])
def test_gradients_that_are_not_there_are_refused(criterion: str) -> None:
    model = network(f"prune{{criterion={criterion} keep_last=false}}", "")
    with pytest.raises(TrainingError) as caught:
        check(model, Stages.of(model, STEPS), STEPS)
    text = str(caught.value)
    assert text.startswith(
        f"prune: criterion={criterion} reads gradients, and no loss of stage 1 depends on "
    )
    assert text.endswith("set prune.criterion=magnitude, or let prune begin in a stage whose losses do")


@pytest.mark.parametrize(
    ("prune", "first"),
    [
        ("prune", ""),
        ("prune{criterion=taylor begin=0.7 end=0.9}", ""),
        ("prune{criterion=taylor}", ',"task":0.1'),
    ],
    ids=["magnitude", "later", "reached"],
)
def test_what_has_its_gradients_passes(prune: str, first: str) -> None:
    model = network(prune, first)
    check(model, Stages.of(model, STEPS), STEPS)


def test_one_stage_is_not_asked() -> None:
    model = pipeline.apply(
        from_proto(zoo.densenet(size=16)), recipe.parse("prune{criterion=taylor},distill{boundary=1}")
    )
    check(model, Stages.of(model, STEPS), STEPS)
