"""Which weights get a mask."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import graphs, pipeline
from onnxcomp import model as models
from onnxcomp import recipe as recipes
from onnxcomp.errors import PassError
from tests import run, zoo


def masked(network: str, recipe: str) -> set[str]:
    model = pipeline.apply(models.from_proto(zoo.ALL[network]()), recipes.parse(recipe))
    found = graphs.masks(model.graph)
    for weight, mask in found.items():
        assert mask.name == f"{weight}.mask"
        assert mask.values.shape == model.constants()[weight].values.shape
        assert (mask.values == np.float32(1)).all()
    return set(found)


@pytest.mark.parametrize("network", ["densenet", "resnet", "mobilenet"])
def test_first_and_last_stay_dense_by_default(network: str) -> None:
    every = [w.name for w in graphs.weights(models.from_proto(zoo.ALL[network]()).graph)]
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
    model = models.from_proto(zoo.densenet())
    recipe = recipes.parse(f"{name}{{exclude=classifier*}}")
    assert recipe == recipes.parse(f'{name}{{exclude=["classifier*"]}}')
    pipeline.apply(model, recipe, calibration=run.Observed())
    with pytest.raises(PassError, match=f"{name}: exclude names head, which is no weighted layer"):
        pipeline.apply(model, recipes.parse(f"{name}{{exclude=head}}"), calibration=run.Observed())
