from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxcomp.errors import MissingPackageError, OnnxcompError
from onnxcomp.sensitivity import picture
from onnxcomp.sensitivity.picture import group_names
from onnxcomp.sensitivity.prune.curves import Curves
from onnxcomp.sensitivity.prune.plot import draw
from onnxcomp.sensitivity.scores import Point

LENET = ["conv1.weight", "conv2.weight", "fc1.weight", "fc2.weight", "fc3.weight"]
BLOCKS = [
    f"features.denseblock{b}.denselayer{n}.conv{c}.weight" for b in (1, 2) for n in range(25) for c in (1, 2)
]
ANONYMOUS = [f"onnx::Conv_{number}" for number in range(60)]


def curves(names: list[str], sparsities: tuple[float, ...] = (0.5, 0.7, 0.9)) -> Curves:
    rng = np.random.default_rng(0)
    layers = {
        name: {
            s: Point(90 - 60 * s * float(rng.random()) ** 3, 0.5 + s * float(rng.random()))
            for s in sparsities
        }
        for name in names
    }
    return Curves("m", "training images of x", "magnitude", "unstructured", 512, Point(90.0, 0.5), layers, {})


@pytest.mark.parametrize(
    "names", [LENET, BLOCKS, ANONYMOUS, LENET[:1]], ids=["few", "many", "anonymous", "one"]
)
@pytest.mark.parametrize("sparsities", [(0.5, 0.7, 0.9), (0.5,)], ids=["three", "one sparsity"])
def test_a_picture_for_every_number_of_layers(
    names: list[str], sparsities: tuple[float, ...], tmp_path: Path
) -> None:
    draw(curves(names, sparsities), tmp_path / "s.png")
    with Image.open(tmp_path / "s.png") as picture:
        width, height = picture.size
        pixels = np.asarray(picture.convert("L"))
    assert 700 <= width <= 2300
    assert 800 <= height <= 900
    assert (pixels < 100).mean() > 0.002  # text and lines
    assert [path.name for path in tmp_path.iterdir()] == ["s.png"]


def test_a_network_that_loses_nothing(tmp_path: Path) -> None:
    flat = curves(LENET)
    same = {name: dict.fromkeys(points, flat.dense) for name, points in flat.layers.items()}
    draw(Curves("m", "x", "magnitude", "2:4", 5, flat.dense, same, {}), tmp_path / "s.png")
    assert (tmp_path / "s.png").stat().st_size > 10_000


def test_the_text_names_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few layers are all named; of many, the groups and the most sensitive."""
    texts = written(curves(LENET), tmp_path, monkeypatch)
    assert set(LENET) <= texts
    assert {"50 %", "70 %", "90 %"} <= texts
    many = curves(BLOCKS)
    texts = written(many, tmp_path, monkeypatch)
    assert {"features.denseblock1", "features.denseblock2"} <= texts
    (listed,) = [text for text in texts if text.startswith("most sensitive")]
    worst = many.by_sensitivity()[: picture.WORST]
    assert listed.splitlines()[1:] == [f"{number}  {name}" for number, name in enumerate(worst, start=1)]
    assert "layer, in the order of the network" in written(curves(ANONYMOUS), tmp_path, monkeypatch)


def written(found: Curves, folder: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every text of the picture."""
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    figures: list[Figure] = []
    real = Figure.__init__

    def noted(self: Figure, *args: object, **more: object) -> None:
        real(self, *args, **more)  # type: ignore[arg-type]
        figures.append(self)

    with monkeypatch.context() as patch:
        patch.setattr(Figure, "__init__", noted)
        draw(found, folder / "s.png")
    return {text.get_text() for figure in figures for text in figure.findobj(Text)}


def test_groups_are_runs_of_equal_beginnings() -> None:
    names = ["conv0", "block1.a.w", "block1.b.w", "block2.a.w", "fc"]
    assert group_names(names, 4) == [("conv0", 1), ("block1", 2), ("block2", 1), ("fc", 1)]
    assert group_names(names, 5)[1:3] == [("block1.a.w", 1), ("block1.b.w", 1)]
    assert group_names(names, 3) == [("", 5)]
    assert group_names(["a/b", "a/c", "b/c"], 2) == [("a", 2), ("b", 1)]


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for attempt in (picture.require, lambda: draw(curves(LENET), tmp_path / "s.png")):
        with pytest.raises(MissingPackageError, match=r"pip install 'onnxcomp\[plot\]'"):
            attempt()


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OnnxcompError, match="there is no such folder"):
        draw(curves(LENET), tmp_path / "missing" / "s.png")
