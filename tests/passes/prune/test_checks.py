"""What pruning refuses: one line each, which names what is wrong and how to mend it."""

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
from onnxcomp.errors import OnnxcompError
from onnxcomp.model import Model
from tests import zoo
from tests.commands.call import call


def load(network: str = "densenet") -> Model:
    return models.from_proto(zoo.ALL[network]())


def refusal(recipe: str, model: Model | None = None, **context: Any) -> str:
    with pytest.raises(OnnxcompError) as error:
        pipeline.apply(model or load(), recipes.parse(recipe), **context)
    assert "\n" not in str(error.value)
    return str(error.value)


OPTIONS = {
    "sparsity=1": "sparsity is 1: Input should be less than 1; set prune.sparsity anew",
    "sparsity=-0.1": "sparsity is -0.1: Input should be greater than or equal to 0",
    "sparsity=many": "sparsity is 'many': Input should be a valid number",
    "sparsity=NaN": "sparsity is nan",
    "initial=1": "initial is 1: Input should be less than 1",
    'layers={"*":1.5}': "layers.*",
    "layers=0.5": "layers is 0.5: Input should be a valid dictionary",
    "begin=-1": "begin is -1: Input should be greater than or equal to 0",
    "end=20.5": "end is 20.5: above 1 it counts steps, which are whole",
    "end=Infinity": "end is inf",
    "frequency=0": "frequency is 0: Input should be greater than 0",
    "pattern=5:4": "pattern is '5:4': it keeps 5 of 4 weights; N:M needs 0 < N < M; set prune.pattern anew",
    "pattern=0:4": "it keeps 0 of 4 weights",
    "pattern=4:4": "it keeps 4 of 4 weights",
    "pattern=four": "give unstructured, N:M such as 2:4, or blocks such as 4x1",
    "pattern=1x1": "a block has two sides of at least 1, one of them longer",
    "criterion=size": "criterion is 'size': Input should be 'magnitude', 'random', 'taylor', 'obd' or 'obs'",
    "allocation=layer": "allocation is 'layer'",
    "schedule=linear": "schedule is 'linear': Input should be 'one-shot', 'iterative', 'cubic' or 'ramp'",
    "max_drop=-1": "max_drop is -1",
    "exclude=head": "exclude names head, which is no weighted layer; see onnxcomp inspect",
    "exclude=classifier.wieght": "exclude names classifier.wieght, which is no weighted layer; did you mean "
    "classifier.weight?",
    'layers={"features.conv.weight":0.5}': "layers names features.conv.weight, which is no weighted layer; "
    "did you mean features.conv0.weight?",
    'layers={"*":0.5,"classifier*":0.2}': "layers names classifier*, but earlier patterns match it all",
    'layers={"*conv1*":0.5} exclude=*denselayer1*': "features.denseblock1.denselayer1.conv1.weight is in "
    "exclude and in layers; name it in one of them",
    'exclude=["*"]': "there is no weight to prune; loosen prune.exclude or prune.keep_*",
    "allocation=erk sparsity=0": "there is no weight to prune; ask for more zeros",
    "pattern=2:1024": "there is no weight to prune; left alone: ",
    "begin=0.9 end=0.1": "begins at 0.9, after its end at 0.1; raise prune.end",
    "begin=200 end=100": "begins at 200, after its end at 100; raise prune.end",
    "initial=0.9": "initial sparsity 0.9 is above the final 0.8; lower prune.initial",
    "pattern=2:4 sparsity=0.6": "pattern=2:4 makes 0.5 of the weights zero, not 0.6; leave",
    "pattern=2:4 allocation=erk": "which leaves allocation=erk nothing to do; leave prune.allocation out",
    'pattern=2:4 layers={"*conv1*":0.5}': "pattern=2:4 sets each layer's sparsity; use prune.exclude instead",
    "schedule=one-shot end=0.9": "end does nothing with schedule=one-shot; leave prune.end out",
    "schedule=one-shot initial=0.1": "initial does nothing with schedule=one-shot",
    "schedule=one-shot frequency=7": "frequency does nothing with schedule=one-shot",
    "schedule=ramp initial=0.1": "initial does nothing with schedule=ramp",
    "seed=3": "seed is for criterion=random alone; leave prune.seed out",
    "criterion=obs": "criterion=obs is for schedule=one-shot and begin=0; set prune.schedule=one-shot",
    "criterion=obs schedule=one-shot begin=0.1": "criterion=obs is for schedule=one-shot and begin=0",
    "criterion=obs schedule=one-shot": "criterion=obs needs real images; give --data",
    "criterion=obd schedule=one-shot": "criterion=obd needs labelled images; give --data",
    "criterion=taylor initial=0.2": "criterion=taylor needs labelled images; give --data",
    "criterion=taylor end=0": "criterion=taylor needs labelled images; give --data",
    "allocation=sensitivity": "allocation=sensitivity needs curves; give prune.sensitivity=FILE",
    "allocation=sensitivity sensitivity=s.json": "allocation=sensitivity needs a limit; give prune.max_drop=",
    "allocation=sensitivity sensitivity=s.json max_drop=1 sparsity=0.5": "allocation=sensitivity sets each "
    "layer's sparsity; leave prune.sparsity out",
    "allocation=sensitivity sensitivity=none.json max_drop=1": "none.json: No such file or directory; let",
    "max_drop=1": "max_drop is for allocation=sensitivity; leave prune.max_drop out",
    "sensitivity=s.json": "sensitivity is for allocation=sensitivity; leave prune.sensitivity out",
}


@pytest.mark.parametrize("options", OPTIONS)
def test_options(options: str) -> None:
    line = refusal(f"prune{{{options}}}")
    assert OPTIONS[options] in line
    assert line.startswith(("prune: ", "recipe: "))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_named(value: float) -> None:
    for place in (0, 3):  # one that is left dense, too
        model = load()
        weight = list(graphs.weights(model.graph))[place]
        values = weight.tensor.values.copy()
        values.flat[-1] = value
        weight.tensor.values = values
        line = refusal("prune", model)
        assert line == f"prune: node {weight.node.name}: {weight.name} is not finite; train it again"


def test_one_with_masks_already() -> None:
    model = pipeline.apply(load(), recipes.parse("prune"))
    model.recipe = ""
    assert "weights have masks already" in refusal("prune", model)


def test_no_layer_has_the_pattern() -> None:
    line = refusal("prune{pattern=3:5}", load("resnet"))
    assert (
        "there is no weight to prune; left alone: onnx::Conv_125 (12 inputs are not divisible by 5), " in line
    )
    assert line.endswith("set prune.pattern anew")


def curves(model: Model) -> dict[str, Any]:
    at = {"top1": 50.0, "loss": 1.0}
    layers = {weight.name: {"0.5": at, "0.9": at} for weight in graphs.weights(model.graph)}
    return {"format": "onnxcomp.sensitivity.1", "dense": {"top1": 90.0, "loss": 1.0}, "layers": layers}


def measured(tmp_path: Path, content: dict[str, Any], max_drop: float = 1.0) -> str:
    path = tmp_path / "s.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return refusal(f"prune{{allocation=sensitivity sensitivity={json.dumps(str(path))} max_drop={max_drop}}}")


def test_curves_of_another_model(tmp_path: Path) -> None:
    assert "s.json is of another model: this one has no weight onnx::Conv_123" in measured(
        tmp_path, curves(load("resnet"))
    )


def test_curves_that_lack_a_layer(tmp_path: Path) -> None:
    content = curves(load())
    name = [weight.name for weight in graphs.weights(load().graph)][2]
    del content["layers"][name]
    line = measured(tmp_path, content)
    assert f"s.json has no curve of {name}; measure it, or add it to prune.exclude" in line


def test_curves_of_another_pattern(tmp_path: Path) -> None:
    line = measured(tmp_path, {**curves(load()), "pattern": "4x1"})
    assert "s.json was measured with pattern=4x1; measure with unstructured" in line


def test_a_drop_that_no_layer_keeps(tmp_path: Path) -> None:
    assert "no layer may lose anything within 0 points; raise prune.max_drop" in measured(
        tmp_path, curves(load()), 0
    )


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("prune{pattern=5:4}", "Error: prune: pattern is '5:4': it keeps 5 of 4 weights"),
        ("prune{exclude=head}", "Error: prune: exclude names head, which is no weighted layer"),
        (
            "prune{criterion=obs schedule=one-shot}",
            "Error: prune: criterion=obs needs real images; give --data",
        ),
        ("prune{schedule=one-shot end=0.9}", "Error: prune: end does nothing with schedule=one-shot"),
    ],
)
def test_on_the_command_line_it_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, recipe: str, message: str
) -> None:
    onnx.save(zoo.resnet(size=8), tmp_path / "m.onnx")
    code, out, err = call(capsys, "apply", recipe, tmp_path / "m.onnx", "-o", tmp_path / "c.onnx")
    assert (code, out) == (2, "")
    (line,) = [line for line in err.splitlines() if line]
    assert line.startswith(message)
    assert not (tmp_path / "c.onnx").exists()
