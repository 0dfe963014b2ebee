"""Tests of onnxcomp.training.blocks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from onnxcomp.training import blocks
from onnxcomp.training.blocks import LINE, PIECE, SMALL

SIZES = {
    "one": 1,
    "large": 2 * PIECE + 5,
    "bias": 7,
    "exact": PIECE,
    "medium": SMALL + 1,
    **{f"small{i}": SMALL - i for i in range(10)},
    "last": 3,
}


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=size).astype(np.float32) for name, size in SIZES.items()}


def test_blocks_cover_every_element_once_and_fit_the_cache():
    values = {name: np.zeros(size, np.int64) for name, size in SIZES.items()}
    layout = blocks.blocks(SIZES)
    for block in layout:
        assert 0 < block.size <= PIECE
        assert sum(view.size for view in block.views(values)) == block.size
        for view in block.views(values):
            view += 1
    assert all((value == 1).all() for value in values.values())
    # Ten tensors of an eighth of a block and three tiny ones: two blocks, beside the five of the others.
    assert [len(block.names) for block in layout].count(1) == 5
    assert len(layout) == 7


def test_blocks_begin_at_cache_lines_and_do_not_overlap():
    layout = blocks.blocks(SIZES, offset=3 * LINE)
    assert layout[0].place.start == 3 * LINE
    for block, following in itertools.pairwise(layout):
        assert following.place.start % LINE == 0
        assert block.place.stop <= following.place.start < block.place.stop + LINE


def test_a_tensor_s_place_is_where_its_blocks_are():
    layout = blocks.blocks(SIZES)
    whole = blocks.line_aligned(layout[-1].place.stop)
    values = arrays()
    for block in layout:
        whole[block.place] = np.concatenate(block.views(values))
    found = blocks.places(SIZES, layout)
    assert set(found) == set(SIZES)
    for name, place in found.items():
        np.testing.assert_array_equal(whole[place], values[name])


def test_what_is_gathered_and_changed_is_scattered_back():
    values = arrays()
    before = arrays()
    for block in blocks.blocks(SIZES):
        views = block.views(values)
        joined = blocks.gather(views, blocks.scratch(1)[0])
        np.testing.assert_array_equal(joined, np.concatenate(block.views(before)))
        joined += 1
        blocks.scatter(joined, views)
    for name, value in values.items():
        np.testing.assert_array_equal(value, before[name] + 1)


def test_the_part_of_a_large_tensor_is_not_copied():
    values = arrays()
    first = next(block for block in blocks.blocks(SIZES) if block.names == ("large",))
    assert np.shares_memory(blocks.gather(first.views(values), blocks.scratch(1)[0]), values["large"])


@pytest.mark.parametrize("size", [1, 15, 16, 17, 100_000])
def test_aligned_arrays_are_zeros_at_a_cache_line(size):
    array = blocks.line_aligned(size)
    assert array.dtype == np.float32
    assert array.shape == (size,)
    assert array.ctypes.data % (4 * LINE) == 0
    assert not array.any()


def test_scratch_has_its_rows_at_cache_lines():
    rows = blocks.scratch(3)
    assert rows.shape == (3, PIECE)
    assert all(row.ctypes.data % (4 * LINE) == 0 for row in rows)


@pytest.mark.parametrize("array", [np.ones((4, 4), np.float32)[:, ::2], np.ones(3)])
def test_only_arrays_that_can_be_updated_in_place_are_taken(array):
    with pytest.raises(ValueError, match="w must be a writable, contiguous float32 array"):
        blocks.check_updatable("w", array)
    array = np.ones(3, np.float32)
    blocks.check_updatable("w", array)
    array.flags.writeable = False
    with pytest.raises(ValueError, match="w must be a writable"):
        blocks.check_updatable("w", array)
