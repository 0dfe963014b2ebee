from __future__ import annotations

import dataclasses
import sys
import typing
from pathlib import Path

import pytest

from onnxcomp import passes
from onnxcomp.completion.fields import fields


@pytest.mark.parametrize("name", passes.BUILT_IN)
def test_the_source_says_what_the_class_says(name: str) -> None:
    kind = passes.find(name)
    found = fields(passes.BUILT_IN[name])
    assert list(found) == [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    for option, values in found.items():
        if typing.get_origin(hints[option]) is typing.Literal and values:
            assert values == typing.get_args(hints[option])


def test_words_of_an_option() -> None:
    found = fields(passes.BUILT_IN["prune"])
    assert found["criterion"] == ("magnitude", "random", "taylor", "obd", "obs")
    assert found["keep_first"] == ("true", "false")
    assert found["sparsity"] == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("class Mine:\n    strength: float = 1\n    name: ClassVar[str] = 'mine'\n", {"strength": ()}),
        ("from elsewhere_absent import Mine\n", {}),
        ("from . import Mine\n", {}),
        ("Mine = object\n", {}),
    ],
    ids=["there", "from what is absent", "relative", "not a class"],
)
def test_a_pass_of_a_third_party(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: dict[str, tuple[str, ...]]
) -> None:
    (tmp_path / "third_party.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert fields("third_party:Mine") == expected
    assert "third_party" not in sys.modules


def test_a_package_that_is_not_there_has_none() -> None:
    assert fields("absent_package.passes:Mine") == {}
