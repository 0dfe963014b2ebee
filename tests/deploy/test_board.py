from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.deploy.board import READ, Board, parse, read_board
from onnxcomp.deploy.machine import Done, LocalMachine

XAVIER = """name Jetson-AGX
release # R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64, DATE: Tue Aug  1
jetpack 5.1.2-b104
memory MemTotal:       31276396 kB
memory MemFree:        20000000 kB
memory MemAvailable:   28000000 kB
disk /dev/mmcblk0p1  28768380 20000000   7283548      74% /
sensor CPU-therm 41500
sensor GPU-therm 39500
sensor AO-therm 40000
"""


class Fixed(LocalMachine):
    """Answers everything with one text."""

    def __init__(self, out: str) -> None:
        self.out = out

    def run(self, words: object, *, timeout: float | None = None) -> Done:
        assert words == ["sh", "-c", READ]
        return Done(0, self.out, "")


def test_a_xavier() -> None:
    kib = 1024
    assert read_board(Fixed(XAVIER)) == Board(
        "Jetson-AGX", "35.4.1", "5.1.2", 31276396 * kib, 28000000 * kib, 7283548 * kib, 39.5
    )
    assert parse(XAVIER).rows == [
        ("board", "Jetson-AGX"),
        ("Jetson Linux", "35.4.1"),
        ("JetPack", "5.1.2"),
        ("memory free", "26.7 GiB of 29.8 GiB"),
        ("disk free", "6.9 GiB"),
        ("GPU temperature", "40 °C"),
    ]


def test_an_orin_whose_gpu_sleeps() -> None:
    """Its sensor cannot be read then; the one of the hottest place can."""
    assert parse("sensor cpu-thermal 50000\nsensor tj-thermal 51250\n").temperature == 51.25


def test_a_graphics_card() -> None:
    found = parse("card NVIDIA H200, 31\ncard NVIDIA H200, 35\n")
    assert (found.name, found.temperature) == ("NVIDIA H200", 31.0)


def test_nothing_is_known() -> None:
    assert parse("") == Board()
    assert {value for _, value in Board().rows} == {"unknown", "unknown of unknown"}


@given(st.text() | st.lists(st.sampled_from(XAVIER.split()), max_size=30).map(" ".join))
def test_any_text_is_taken(text: str) -> None:
    assert len(parse(text).rows) == 6
    assert len(parse("\n".join(f"{line.split()[0]} {text}" for line in XAVIER.splitlines())).rows) == 6


def test_this_machine() -> None:
    found = read_board(LocalMachine())
    assert found.memory is not None
    assert found.memory_free is not None
    assert 0 < found.memory_free < found.memory
    assert found.disk_free is not None


def test_what_its_tools_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, line in {
        "dpkg-query": '[ "$4" = nvidia-jetpack ] && printf "$3" | sed \'s/${Version}/6.2-b77/\'',
        "nvidia-smi": "echo NVIDIA H200, 31",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    found = read_board(LocalMachine())
    assert found.jetpack == "6.2"
    assert found.name is not None
    assert found.temperature is not None
    assert found.disk_free is not None


def test_what_a_profile_says_of_it() -> None:
    assert Board().notes == ()
    board = Board(l4t="35.4.1", jetpack="5.1.2", temperature=44.6)
    assert board.notes == ("Jetson Linux 35.4.1, JetPack 5.1.2, 45 °C before the measurement",)
