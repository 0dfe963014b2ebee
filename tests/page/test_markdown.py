"""The report as Markdown: what comes from a file is shown, never obeyed."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxcomp.page import markdown
from onnxcomp.page.report import Wish, gather
from tests.made import HOSTILE
from tests.page import kept


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("conv", "`conv`"),
        ("a|b", "`a\\|b`"),
        ("a`b", "``a`b``"),
        ("`", "`` ` ``"),
        ("a\nb\x1b", r"`a\nb\x1b`"),
        ("", "` `"),
    ],
)
def test_a_code_span_holds_anything(text: str, span: str) -> None:
    assert markdown.code(text) == span


def test_tables_are_whole_and_names_inert(run: Path) -> None:
    kept.pruned(run / "sensitivity.json", HOSTILE)
    kept.profiled(run / "profile.json")
    found = gather([run], Wish(targets=("orin",)))
    text = markdown.render(found)
    assert text == markdown.render(gather([run], Wish(targets=("orin",))))
    lines = text.splitlines()
    head = next(index for index, line in enumerate(lines) if line.startswith("| network"))
    widths = {line.count("|") - line.count("\\|") for line in lines[head : head + 4]}
    assert widths == {lines[head].count("|")}
    assert "| `pruned + INT8 + distilled` |" in text
    for line in lines:
        outside = "".join(line.replace("``", "`").split("`")[::2])
        assert "<img" not in outside
    assert "onnxcomp compress" in text
    assert found.networks[1].digest in text
    assert text.endswith("\n")


def test_what_is_missing_is_said_first(run: Path) -> None:
    (run / "results.json").unlink()
    text = markdown.render(gather([run], Wish()))
    assert text.index("**What is missing**") < text.index("| network")
