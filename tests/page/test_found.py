"""Sensitivities and profiles that were kept as JSON."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from onnxcomp.deploy.profile.profile import Profile
from onnxcomp.deploy.trtexec.log import Summary, Times
from onnxcomp.errors import OnnxcompError
from onnxcomp.page import found
from tests.page import kept


def test_pruning_ranks_by_the_rise_of_the_loss(tmp_path: Path) -> None:
    one = found.sensitivity(kept.pruned(tmp_path / "s.json", "\x1b[31m"))
    assert [row[0] for row in one.rows] == ["b.weight", r"\x1b[31m"]
    assert one.rows[0][1:] == ("11.00", "51.00", "1.7500")
    assert list(one.scores) == [r"\x1b[31m", "b.weight"]
    assert not one.ascending


def test_int8_ranks_by_the_sqnr(tmp_path: Path) -> None:
    one = found.sensitivity(kept.quantised(tmp_path / "s.json"))
    assert [row[:3] for row in one.rows] == [
        ("b.weight", "20", "3.00"),
        ("a.weight", "40", "0.00"),
        ("c.weight", "inf", "0.00"),
    ]
    assert one.ascending


def test_a_folder_s_files_are_known_by_what_they_say(tmp_path: Path) -> None:
    kept.pruned(tmp_path / "z.json")
    kept.profiled(tmp_path / "p.json")
    (tmp_path / "other.json").write_text('{"format": 1}')
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "half.json").write_text('{"format": "onnxcomp.sensitivity.1"}')
    here = found.in_folder(tmp_path, "run")
    assert [one.unit for one in here.sensitivities] == ["rise of the loss, nats, mean over the sparsities"]
    assert [one.label for one in here.profiles] == ["run/p.json"]
    assert len(here.problems) == 2
    assert here.problems[0].endswith("bad.json: is no JSON")
    assert "half.json: is damaged" in here.problems[1]


def test_what_is_named_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(OnnxcompError, match="holds no sensitivity; give what onnxcomp sensitivity -o wrote"):
        found.sensitivity(kept.profiled(tmp_path / "p.json"))
    with pytest.raises(OnnxcompError, match="cannot be read"):
        found.sensitivity(tmp_path / "gone.json")
    path = kept.quantised(tmp_path / "q.json")
    path.write_text(path.read_text().replace('"alone"', '"along"'))
    with pytest.raises(OnnxcompError, match="is damaged"):
        found.sensitivity(path)


def test_latency_is_the_median_of_the_whole_query_where_it_is_known(tmp_path: Path) -> None:
    profile = Profile.load(kept.profiled(tmp_path / "p.json"))
    assert found.latency_of(profile) == 2.5
    for summary, expected in (
        (None, None),
        (Summary(), None),
        (Summary(gpu=Times(mean=1.25)), 1.25),
        (Summary(latency=Times(mean=3.0), gpu=Times(median=1.0)), 3.0),
    ):
        assert found.latency_of(replace(profile, summary=summary)) == expected
