from __future__ import annotations

from collections.abc import Sequence

import pytest

from onnxcomp.deploy.engines.clocks import Clocks, read_clocks
from onnxcomp.deploy.machine import Done, LocalMachine


class Answering(LocalMachine):
    """Answers each program with a text; others are not there."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers

    def run(self, words: Sequence[str], *, timeout: float | None = None) -> Done:
        name = words[0].replace("-", "_")
        return Done(0, self.answers[name], "") if name in self.answers else Done(127, "", "")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (
            {"nvpmodel": "NV Power Mode: MAXN\n0\n", "sh": "1377000000\n1377000000\n1377000000\n"},
            Clocks("MAXN", "GPU 1377 of 1377 MHz, fixed"),
        ),
        (
            {"nvpmodel": "NV Power Mode: MODE_15W\n2\n", "sh": "114750000\n114750000\n675750000\n"},
            Clocks("MODE_15W", "GPU 115 of 676 MHz, not fixed, from 115: sudo jetson_clocks"),
        ),
        ({"sh": "1 2\n"}, Clocks("", "")),
        ({"nvpmodel": "NVPM ERROR: Error opening\n", "sh": ""}, Clocks()),
        (
            {"nvidia_smi": "1980 MHz, 1980 MHz, 2619 MHz, 700.00 W\n"},
            Clocks("limit 700.00 W", "GPU 1980 MHz of 1980 MHz, memory 2619 MHz"),
        ),
        ({"nvidia_smi": "No devices were found\n"}, Clocks()),
        ({"nvidia_smi": "\n"}, Clocks()),
        ({}, Clocks()),
    ],
)
def test_what_is_read(answers: dict[str, str], expected: Clocks) -> None:
    assert read_clocks(Answering(**answers)) == expected
