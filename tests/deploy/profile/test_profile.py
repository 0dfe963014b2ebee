"""A profile goes to a file and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.deploy.profile import profile as module
from onnxcomp.deploy.profile.profile import Conditions, Profile, ProfileError
from onnxcomp.errors import OnnxcompError
from onnxcomp.report.console import to_json
from tests.deploy.profile.network import profile
from tests.deploy.trtexec.exports.mutations import damaged
from tests.deploy.trtexec.samples import VERSIONS, sample

TEXT = profile("8.5", conditions=Conditions(gpu="a\x1b[31m", batch=4, notes=("n",))).text


@pytest.mark.parametrize("version", VERSIONS)
def test_it_comes_back_as_it_was(version: str, tmp_path: Path) -> None:
    before = profile(version)
    before.save(tmp_path / "p.json")
    assert Profile.load(tmp_path / "p.json") == before
    assert list(tmp_path.iterdir()) == [tmp_path / "p.json"]
    assert json.loads(before.text)["format"] == "onnxcomp profile 1"


def test_it_is_what_the_console_writes() -> None:
    assert json.loads(to_json(profile("8.5"))) == json.loads(profile("8.5").text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        TEXT[:-200],
        TEXT.replace("profile 1", "profile 2"),
        sample("8.5", "layers").read_text(),
    ],
)
def test_another_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(
        ProfileError, match=r"p\.json: holds no profile; give a file that `onnxcomp profile --json"
    ):
        Profile.load(tmp_path / "p.json")


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProfileError, match=r"none: cannot be read \(No such file or directory\)"):
        Profile.load(tmp_path / "none")
    (tmp_path / "p.json").write_text(TEXT)
    monkeypatch.setattr(module, "MAX_BYTES", 9)
    with pytest.raises(ProfileError, match="is too large for a profile"):
        Profile.load(tmp_path / "p.json")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OnnxcompError, match="there is no such folder"):
        profile("8.5").save(tmp_path / "none" / "p.json")


@given(damaged(TEXT))
def test_a_damaged_file_gives_a_profile_or_one_line(text: str) -> None:
    said = "f: holds no profile; "
    try:
        Profile.parse(text, "f")
    except ProfileError as error:
        said = str(error)
    assert said.startswith("f: holds no profile; ")


@given(st.text())
def test_names_may_hold_anything(name: str) -> None:
    before = Profile.parse(TEXT, "f")
    text = TEXT.replace('"x.Q"', json.dumps(name))
    after = Profile.parse(text, "f")
    assert after.layers[0].name == name
    assert after.layers[1:] == before.layers[1:]
