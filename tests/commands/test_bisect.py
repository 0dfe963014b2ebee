from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from onnxcomp import model as models
from tests import pictures
from tests.bisect.faults import int8, scale_off
from tests.commands.call import call

Bisect = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bisect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Bisect:
    data = pictures.save_npz(tmp_path / "pictures.npz")

    def run(*args: object) -> tuple[int, str, str]:
        return call(capsys, "bisect", *args, "--data", data, "--threads", 1)

    return run


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path, str]:
    """Reference, candidate with a planted fault, and the node that it is in."""
    reference, candidate = int8("resnet")
    node = scale_off(candidate)
    models.save(reference, tmp_path / "m.onnx")
    models.save(candidate, tmp_path / "d.onnx")
    return tmp_path / "m.onnx", tmp_path / "d.onnx", node


def test_the_node_is_named(pair: tuple[Path, Path, str], bisect: Bisect) -> None:
    reference, candidate, node = pair
    code, out, err = bisect(reference, candidate)
    assert (code, err) == (0, "")
    assert f"first node at fault: Conv {node};" in out
    assert "smallest set found: 1 layer" in out


def test_json_has_everything(pair: tuple[Path, Path, str], bisect: Bisect) -> None:
    reference, candidate, node = pair
    code, out, _ = bisect(reference, candidate, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["first"]["node"] == node
    assert [one["node"] for one in found["blamed"]] == [node]
    assert found["minimal"]
    assert found["images"] == 30
    assert found["candidate"]["noise"] > found["mended"]["noise"]


def test_the_same_answer_on_every_run(pair: tuple[Path, Path, str], bisect: Bisect) -> None:
    runs = [bisect(*pair[:2], "--json", "--samples", 11) for _ in range(2)]
    assert runs[0] == runs[1]


def test_equal_networks(pair: tuple[Path, Path, str], bisect: Bisect) -> None:
    code, out, _ = bisect(pair[0], pair[0])
    assert code == 0
    assert out.splitlines()[-1] == "nothing is lost"


@pytest.mark.parametrize(
    ("option", "message"),
    [(("--recover", 0), "--recover"), (("--trials", 0), "--trials"), (("--by", "loss"), "--by")],
)
def test_bad_options_are_one_line(
    option: tuple[object, ...], message: str, pair: tuple[Path, Path, str], bisect: Bisect
) -> None:
    code, out, err = bisect(*pair[:2], *option)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_networks_that_do_not_fit(pair: tuple[Path, Path, str], tmp_path: Path, bisect: Bisect) -> None:
    models.save(pictures.network("resnet", classes=7), tmp_path / "other.onnx")
    code, out, err = bisect(pair[0], tmp_path / "other.onnx")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "numbers of classes differ" in err
