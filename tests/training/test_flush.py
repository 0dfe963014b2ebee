"""Tests of onnxcomp.training.flush."""

from __future__ import annotations

import numpy as np

from onnxcomp.training.blocks import PIECE, Block
from onnxcomp.training.flush import EVERY, Flush


def test_what_is_tiny_becomes_0_and_the_rest_keeps_its_bits():
    values = np.array([1e-30, -1e-31, 1e-45, 0, 2e-30, -1.5, np.inf, np.nan], np.float32)
    before = values.copy()
    Flush()(values, 1e-30)
    assert not values[:4].any()
    assert values[4:].tobytes() == before[4:].tobytes()


def test_each_block_has_its_turn_and_the_work_is_spread():
    layout = [Block(("w",), 0, slice(i * PIECE, (i + 1) * PIECE)) for i in range(2 * EVERY)]
    flush = Flush()
    due = [[flush.is_due(block, step) for block in layout] for step in range(EVERY)]
    assert all(sum(column) == 1 for column in zip(*due, strict=True))
    assert all(sum(row) == 2 for row in due)
