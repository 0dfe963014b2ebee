"""Tests of onnxcomp.training.metrics.curves: what is drawn, and that it is drawn for any log."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onnxcomp.errors import MissingPackageError, OnnxcompError
from onnxcomp.training.metrics.curves import curves
from tests.project import python

pytest.importorskip("matplotlib")

Record = dict[str, Any]


def log(points: int, sparsity: float = 0.8) -> list[Record]:
    found: list[Record] = []
    for step in range(10, 10 * points + 10, 10):
        found.append(
            {
                "step": step, "epoch": step / 50, "lr": 0.1 / step, "loss": 5 / step, "loss/task": 4 / step,
                "loss/soft_targets": 3 / step, "accuracy": 50.0, "images_per_second": 90.0,
                "sparsity": sparsity * step / (10 * points),
            }
        )  # fmt: skip
        if step % 50 == 0:
            found.append({"event": "epoch", "step": step, "epoch": step / 50, "test_accuracy": 60.0})
    return found


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The axes of the figure that is saved, by title."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    found: dict[str, Any] = {}
    save = FigureCanvasAgg.print_png

    def keep(canvas: Any, path: Path) -> None:
        found.update({axis.get_title(loc="left"): axis for axis in canvas.figure.axes})
        save(canvas, path)

    monkeypatch.setattr(FigureCanvasAgg, "print_png", keep)
    return found


def lines(axis: Any) -> dict[str, list[tuple[float, float]]]:
    return {line.get_label(): list(map(tuple, line.get_xydata())) for line in axis.get_lines()}


def test_every_number_is_drawn_at_its_step(tmp_path: Path, panels: dict[str, Any]) -> None:
    records = log(10)
    curves(records, tmp_path / "curves.png")
    assert list(panels) == ["Loss", "Accuracy", "Learning rate", "Sparsity"]
    loss, accuracy, lr, sparsity = panels.values()
    training = [record for record in records if "loss" in record]
    assert list(lines(loss)) == ["total", "task", "soft targets"]
    assert lines(loss)["total"] == [(record["step"], record["loss"]) for record in training]
    assert list(lines(accuracy)) == ["train", "test"]
    assert lines(accuracy)["test"] == [(50, 60.0), (100, 60.0)]
    ((drawn),) = lines(lr).values()
    assert drawn == [(record["step"], record["lr"]) for record in training]
    ((drawn),) = lines(sparsity).values()
    assert drawn[-1] == pytest.approx((100, 80.0), rel=1e-12)


def test_axes_say_what_they_show(tmp_path: Path, panels: dict[str, Any]) -> None:
    curves(log(10), tmp_path / "curves.png")
    assert {axis.get_xlabel() for axis in panels.values()} == {"step (50 an epoch)"}
    labels = ["loss", "accuracy [%]", "learning rate", "weights that are 0 [%]"]
    assert [axis.get_ylabel() for axis in panels.values()] == labels
    legend = panels["Loss"].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["total", "task", "soft targets"]


def test_a_dense_run_shows_its_speed_and_one_loss(tmp_path: Path, panels: dict[str, Any]) -> None:
    records = [
        {name: value for name, value in r.items() if name != "loss/soft_targets"} for r in log(10, 0.0)
    ]
    curves(records, tmp_path / "curves.png")
    assert list(panels) == ["Loss", "Accuracy", "Learning rate", "Speed"]
    assert list(lines(panels["Loss"])) == ["total"]


@pytest.mark.parametrize(("last", "scale"), [(0.006, "log"), (0.02, "linear"), (0.0, "linear")])
def test_a_loss_over_two_decades_is_logarithmic(
    tmp_path: Path, panels: dict[str, Any], last: float, scale: str
) -> None:
    curves([{"step": 1, "loss": 1.0}, {"step": 2, "loss": last}], tmp_path / "curves.png")
    assert panels["Loss"].get_yscale() == scale


@pytest.mark.parametrize(
    "records",
    [
        [],
        log(1),
        [{"event": "epoch", "step": 5, "epoch": 1.0, "test_accuracy": 10.0}],
        [{"step": 1, "loss": math.nan}, {"step": 2, "loss": math.inf}],
        log(300),
    ],
    ids=["none", "one", "evaluation alone", "not finite", "many"],
)
def test_any_log_gives_a_picture(tmp_path: Path, records: list[Record]) -> None:
    path = tmp_path / "curves.png"
    path.write_text("of an earlier run")
    curves(iter(records), path)
    with Image.open(path) as picture:
        assert (picture.format, picture.size) == ("PNG", (1500, 1050))
        assert np.asarray(picture.convert("L")).min() < 50  # there is black on it
    assert [entry.name for entry in tmp_path.iterdir()] == ["curves.png"]


def test_a_single_point_can_be_seen(tmp_path: Path, panels: dict[str, Any]) -> None:
    curves(log(1), tmp_path / "curves.png")
    assert {line.get_marker() for line in panels["Loss"].get_lines()} == {"."}


def test_matplotlib_s_global_state_is_left_alone(tmp_path: Path) -> None:
    code = """
import json, sys
from pathlib import Path
import matplotlib
before = list(dict.items(matplotlib.rcParams))  # reading the backend by name would choose one
from onnxcomp.training.metrics.curves import curves
curves([{"step": 1, "loss": 1.0}], Path(sys.argv[1]))
assert list(dict.items(matplotlib.rcParams)) == before
print(json.dumps("matplotlib.pyplot" in sys.modules))
"""
    done = python(code, str(tmp_path / "curves.png"))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) is False


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    with pytest.raises(MissingPackageError, match=r"pip install 'onnxcomp\[plot\]'"):
        curves(log(2), tmp_path / "curves.png")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OnnxcompError, match="there is no such folder"):
        curves(log(2), tmp_path / "a" / "curves.png")
