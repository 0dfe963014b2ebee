"""Warnings of trtexec's that a reader of its numbers must know."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxcomp.deploy.trtexec.notices import RULES, Notice, NoticeReader

SAID = dict(
    line.split(" | ", 1)
    for line in Path(__file__).with_name("said").joinpath("notices.txt").read_text().splitlines()
)


def read(*lines: str) -> tuple[Notice, ...]:
    reader = NoticeReader()
    for line in lines:
        reader.read(line)
    return reader.notices


@pytest.mark.parametrize("kind", SAID)
def test_published_lines_are_known(kind: str) -> None:
    (notice,) = read(SAID[kind])
    assert notice.kind == kind
    assert notice.text
    assert "{" not in notice.text


def test_every_rule_has_its_line() -> None:
    assert [rule.kind for rule in RULES] == list(SAID)


def test_numbers_are_carried_over() -> None:
    unstable, parallel = read(SAID["unstable"], SAID["parallel"])
    assert "vary by 3.47%" in unstable.text
    assert "on 2 more streams" in parallel.text


def test_said_often_is_one_notice_with_a_count() -> None:
    assert [(notice.kind, notice.count) for notice in read(*[SAID["scales"]] * 3, SAID["noise"])] == [
        ("scales", 3),
        ("noise", 1),
    ]


def test_other_lines_say_nothing() -> None:
    assert read("Engine built in 3 sec.", "", "* ") == ()
