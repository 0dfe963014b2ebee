from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxcomp.errors import OnnxcompError
from onnxcomp.sensitivity.qat.effects import Effect, Effects
from onnxcomp.sensitivity.qat.plot import draw
from onnxcomp.sensitivity.scores import Compared, Point
from tests.sensitivity.prune.test_plot import BLOCKS, LENET


def effects(names: list[str], between: Compared | None = None) -> Effects:
    rng = np.random.default_rng(0)
    layers = {
        name: Effect(
            Compared(90.0, 0.5, 40 + 20 * float(rng.random())),
            Compared(89.0, 0.5, 30 + float(rng.random())),
        )
        for name in names
    }
    int8 = Compared(89.0, 0.6, 30.0)
    return Effects("m", "qat", "training images of x", 512, Point(90.0, 0.5), int8, between, layers)


@pytest.mark.parametrize("names", [LENET, BLOCKS, LENET[:1]], ids=["few", "many", "one"])
@pytest.mark.parametrize("between", [None, Compared(90.0, 0.5, 35.0)], ids=["layers", "between"])
def test_a_picture_for_every_number_of_layers(
    names: list[str], between: Compared | None, tmp_path: Path
) -> None:
    draw(effects(names, between), tmp_path / "s.png")
    with Image.open(tmp_path / "s.png") as picture:
        width, height = picture.size
        pixels = np.asarray(picture.convert("L"))
    assert 700 <= width <= 2300
    assert 800 <= height <= 900
    assert (pixels < 100).mean() > 0.002  # text and lines


def test_layers_that_change_nothing(tmp_path: Path) -> None:
    same = Compared(90.0, 0.5, None)
    found = Effects("m", "qat", "x", 5, Point(90.0, 0.5), same, same, {"a": Effect(same, same)})
    draw(found, tmp_path / "s.png")
    assert (tmp_path / "s.png").stat().st_size > 5_000


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OnnxcompError, match="there is no such folder"):
        draw(effects(LENET), tmp_path / "missing" / "s.png")
