"""Everything that a report shows, gathered."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from onnxcomp.data import open_data
from onnxcomp.page import table
from onnxcomp.page.report import Wish, gather
from onnxcomp.page.runs import NotARunError
from tests.page import kept


def test_one_run_with_what_was_kept_beside_it(run: Path) -> None:
    kept.pruned(run / "sensitivity.json")
    kept.profiled(run / "profile.json", onnx="elsewhere/deployable.onnx")
    shown: list[tuple[str, int, int]] = []
    wish = Wish(targets=("orin",), data=open_data("digits"), images=8)
    found = gather([run], wish, lambda *words: shown.append(words))
    assert found.problems == ()
    assert found.given == (run.as_posix(),)
    assert [column.target for column in found.columns] == ["xavier", "orin"]
    assert [len(one.scores) for one in found.sensitivities] == [2]
    dense, compressed = found.networks
    assert found.profile_of(dense) is None
    assert found.profile_of(compressed) is found.profiles[0].profile
    assert found.activations.keys() == {compressed.digest}
    assert [shown[0], shown[-1]] == [("files read", 0, 2), ("images observed", 8, 8)]
    cells = dict(zip(table.columns(found), table.rows(found)[1], strict=True))
    assert cells["Xavier, ms, measured"] == "2.500"
    assert float(cells["xavier, ms, estimate"]) > 0


def test_files_that_are_named_come_first(run: Path, tmp_path: Path) -> None:
    kept.pruned(run / "sensitivity.json")
    deployable = str(run / "deployable.onnx")
    wish = Wish(
        sensitivities=(kept.quantised(tmp_path / "q.json"),),
        profiles=(kept.profiled(tmp_path / "p.json", onnx=deployable), kept.profiled(tmp_path / "o.json")),
    )
    found = gather([run], wish)
    assert [one.ascending for one in found.sensitivities] == [True, False]
    assert found.profile_of(found.networks[1]) is found.profiles[0].profile


def test_runs_that_begin_with_the_same_network_show_it_once(made: Path, tmp_path: Path) -> None:
    for name in ("pruned", "int8"):
        shutil.copytree(made, tmp_path / name)
    (tmp_path / "pruned" / "deployable.onnx").write_bytes((made / "trained.onnx").read_bytes())
    found = gather([tmp_path], Wish())
    assert [one.run for one in found.networks] == ["pruned", "pruned", "int8"]
    assert table.columns(found)[:2] == ("network", "run")
    two = gather([tmp_path / "pruned", tmp_path / "int8"], Wish())
    assert [one.digest for one in two.networks] == [one.digest for one in found.networks]
    assert two.networks[0].run == (tmp_path / "pruned").as_posix()


def test_a_folder_of_which_nothing_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{")
    (tmp_path / "deployable.onnx").write_bytes(b"\x00" * 99)
    with pytest.raises(NotARunError) as caught:
        gather([tmp_path], Wish())
    assert str(caught.value).startswith(f"{tmp_path}: nothing can be read of it (")
    assert "\n" not in str(caught.value)


def test_images_that_do_not_fit_cost_nothing_else(made: Path, tmp_path: Path) -> None:
    import numpy as np

    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.arange(4) % 2
    np.savez(tmp_path / "d.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    found = gather([made], Wish(data=open_data(str(tmp_path / "d.npz"))))
    assert len(found.problems) == 1 - bool(found.activations)
    assert len(found.networks) == 2
