from __future__ import annotations

from pathlib import Path

from onnxcomp.outlook import Outlook


def test_what_is_there_already_is_said(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.touch()
    found = Outlook(("would do",), (old,)) + Outlook(("and this",), (new,))
    assert found.all_lines() == [
        "would do",
        "and this",
        f"would write {old}, over what is there",
        f"would write {new}",
        "dry run: nothing was written",
    ]
