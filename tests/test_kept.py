"""What caches share: their place, and digests that differ where measurements would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from onnxcomp.kept import digest, model_digest
from onnxcomp.model import Preprocessing, from_proto
from tests import zoo
from tests.project import ROOT


def test_the_place_is_the_user_s_cache(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from onnxcomp.kept import default_root; print(default_root('calibration'))"],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = Path(done.stdout.strip())
    assert found.name == "calibration"
    assert found.parent.name == "onnxcomp"
    if sys.platform == "linux":
        assert found.parent.parent == tmp_path


def test_digests_of_values_do_not_hang_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [2, None]}) == digest({"b": [2, None], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_digests_of_networks_differ_by_weights_and_preprocessing_not_by_names_of_classes() -> None:
    model = from_proto(zoo.mlp())
    before = model_digest(model)
    assert model_digest(from_proto(zoo.mlp())) == before
    model.classes, model.recipe = tuple("0123456789"), "prune"
    assert model_digest(model) == before
    model.preprocessing = Preprocessing((1.0,) * 3, (2.0,) * 3)
    normalised = model_digest(model)
    assert normalised != before
    weight = next(iter(model.constants().values()))
    weight.values = np.nextafter(weight.values, np.float32(np.inf))
    assert model_digest(model) not in (before, normalised)
