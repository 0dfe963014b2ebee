from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxcomp.data import ImageSet, TrainingBatches, evaluation_batches, ordered, to_input
from onnxcomp.data.augment import parse, uniforms
from onnxcomp.data.images import decode
from onnxcomp.errors import DataError
from onnxcomp.model import Preprocessing
from tests.data.pictures import encoded

SIZE = (16, 16)
PREPROCESSING = Preprocessing((120.0, 121.0, 122.0), (60.0, 61.0, 62.0))
AUGMENTS = ["none", "standard", "crop,autoaugment-cifar10,cutout", "resized-crop,flip,randaugment{n=3 m=15}"]


def image_set(count: int = 23, flip: bool = True) -> ImageSet:
    """Each image differs, and its label is its number."""
    pixels = np.random.default_rng(7).integers(0, 256, (count, *SIZE, 3), np.uint8)
    return ImageSet.from_arrays(pixels, np.arange(count), [str(k) for k in range(count)], flip)


def batches(images: ImageSet | None = None, batch_size: int = 5, seed: int = 3, augment=True, parts: int = 1):
    return TrainingBatches(images or image_set(), SIZE, PREPROCESSING, 3, batch_size, seed, augment, parts)


def data_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("onnxcomp-data")]


def equal(first, second) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_shapes_and_steps():
    made = batches()
    assert made.steps_per_epoch == 4
    images, labels = made.batch(0)
    assert (images.shape, images.dtype) == ((5, 3, 16, 16), np.float32)
    assert (labels.shape, labels.dtype) == ((5,), np.int64)
    assert images.flags.c_contiguous


def test_an_epoch_takes_each_image_at_most_once_and_epochs_differ():
    made = batches()
    epochs = [np.concatenate([made.batch(4 * e + k)[1] for k in range(4)]) for e in range(3)]
    assert all(len(set(epoch.tolist())) == 20 for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[1], epochs[2])


def test_without_augmentation_images_are_as_they_are():
    images = image_set()
    values, labels = batches(images, augment=False).batch(9)
    assert np.array_equal(values, to_input(images.load(labels, SIZE), PREPROCESSING, 3))


def test_augmentation_differs_between_epochs():
    made = batches(image_set(5))
    seen = {made.batch(step)[0][made.batch(step)[1].argsort()].tobytes() for step in range(6)}
    assert len(seen) == 6


def test_images_that_must_not_be_flipped_are_not():
    pixels = np.zeros((40, 1, 64, 3), np.uint8)
    pixels[:, :, 32:] = 255
    for flip in (False, True):
        images = ImageSet.from_arrays(pixels, np.zeros(40, np.int64), ["x"], flip)
        values, _ = TrainingBatches(images, (1, 64), PREPROCESSING, 3, 40, 0).batch(0)
        mirrored = values[:, 0, 0, 20] > values[:, 0, 0, 44]
        assert mirrored.any() == flip


def test_what_a_batch_is():
    """The order and the random numbers of a step, written out: a run resumed later relies on it."""
    images = image_set()
    chosen = np.random.default_rng([3, 2]).permutation(23)[5:10]
    # Position in the epoch, not the batch, says which numbers are an image's.
    draws = uniforms(3, 2, 5, 5, 3)
    augmented = parse("crop,flip").load(images, chosen, SIZE, draws, PREPROCESSING.mean)
    expected = to_input(augmented, PREPROCESSING, 3)
    assert equal(batches(images).batch(2 * 4 + 1), (expected, chosen))


@pytest.mark.parametrize(
    ("augment", "name"),
    [(True, "crop,flip"), (False, "none"), ("standard", "crop,flip"), ("cutout", "cutout")],
)
def test_the_augmentation_is_a_name_a_flag_or_itself(augment, name):
    made = batches(augment=augment)
    assert made.augment == parse(name)
    assert equal(made.batch(1), batches(augment=parse(name)).batch(1))


def test_an_unknown_augmentation_is_refused_at_once():
    with pytest.raises(DataError, match="there is no augmentation crob; did you mean crop"):
        batches(augment="crob")


@given(st.integers(0, 2**40), st.lists(st.integers(0, 40), min_size=1, max_size=6), st.sampled_from(AUGMENTS))
def test_a_batch_depends_on_its_step_alone(seed, steps, augment):
    one = batches(seed=seed, augment=augment)
    for step in steps:
        assert equal(one.batch(step), batches(seed=seed, augment=augment).batch(step))
    for step in reversed(steps):
        assert equal(one.batch(step), batches(seed=seed, augment=augment).batch(step))


@given(
    seed=st.integers(0, 2**32),
    sizes=st.sampled_from([(1, 12), (2, 6), (3, 4), (4, 3), (6, 2), (12, 1)]),
    step=st.integers(0, 9),
    augment=st.sampled_from(AUGMENTS),
)
def test_parts_are_the_same_images_in_the_same_order(seed, sizes, step, augment):
    images = image_set(29)
    whole = batches(images, 12, seed, augment).batch(step)
    made = batches(images, sizes[0], seed, augment, parts=sizes[1])
    assert made.steps_per_epoch == 29 // 12
    found = [made.batch(step, part) for part in range(sizes[1])]
    assert equal([np.concatenate(values) for values in zip(*found, strict=True)], whole)


def test_an_epoch_of_parts_takes_each_image_at_most_once():
    made = batches(image_set(29), 3, parts=4)
    labels = [made.batch(step, part)[1] for step in range(made.steps_per_epoch) for part in range(4)]
    assert len(set(np.concatenate(labels).tolist())) == 24


@pytest.mark.parametrize("part", [-1, 2])
def test_a_part_that_is_none(part):
    with pytest.raises(ValueError, match=f"part {part} of 2"):
        batches(parts=2).batch(0, part)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    start=st.integers(0, 12),
    count=st.integers(0, 8),
    ahead=st.integers(0, 20),
    workers=st.integers(0, 5),
    parts=st.sampled_from([None, [0], [2, 0], [1, 2]]),
    augment=st.sampled_from(AUGMENTS),
)
def test_iterate_gives_the_batches_whatever_the_threads(seed, start, count, ahead, workers, parts, augment):
    made = batches(batch_size=2, seed=seed, augment=augment, parts=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordered, "AHEAD", ahead)
        found = list(made.iterate(start, start + count, parts, workers))
    fresh = batches(batch_size=2, seed=seed, augment=augment, parts=3)
    expected = [fresh.batch(start + k, part) for k in range(count) for part in parts or range(3)]
    assert len(found) == len(expected)
    assert all(equal(one, other) for one, other in zip(found, expected, strict=True))
    assert not data_threads()


def test_seeds_differ():
    assert not equal(batches(seed=1).batch(0), batches(seed=2).batch(0))


class Slow:
    """Counts what is asked of it; the image of index 9 is broken."""

    def __init__(self) -> None:
        self.asked = 0

    def __len__(self) -> int:
        return 100

    def image(self, index: int):
        self.asked += 1
        return decode(b"broken" if index == 9 else encoded(), f"{index}.png")


def slow_set() -> tuple[Slow, ImageSet]:
    source = Slow()
    return source, ImageSet(source, np.zeros(100, np.int64), ("x",))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_error_comes_where_its_batch_would_have_come(workers):
    found = evaluation_batches(slow_set()[1], SIZE, PREPROCESSING, 3, 4, workers)
    assert len(next(found)[1]) == len(next(found)[1]) == 4
    with pytest.raises(DataError, match=r"9.png: not a JPEG"):
        next(found)
    assert not data_threads()


@pytest.mark.parametrize("augment", ["standard", "resized-crop"])
@pytest.mark.parametrize("workers", [1, 3])
def test_training_meets_the_error_in_its_place(augment, workers):
    made = TrainingBatches(slow_set()[1], SIZE, PREPROCESSING, 3, 10, 0, augment)
    position = np.random.default_rng([0, 0]).permutation(100).tolist().index(9)
    found = made.iterate(0, made.steps_per_epoch, workers=workers)
    for _ in range(position // 10):
        next(found)
    with pytest.raises(DataError, match=r"9.png: not a JPEG"):
        next(found)
    assert not data_threads()


def test_a_consumer_that_stops_stops_the_thread():
    source, images = slow_set()
    found = evaluation_batches(images, SIZE, PREPROCESSING, 3, 1)
    next(found)
    assert isinstance(found, Generator)
    found.close()
    assert not data_threads()
    # The batch taken, those ahead of it, and one that was in the making.
    assert source.asked <= 1 + ordered.AHEAD + 1


def test_an_iterator_that_is_never_used_starts_no_thread():
    made = batches()
    del made
    unused = batches().iterate(0, 10)
    assert not data_threads()
    assert len(list(unused)) == 10


@pytest.mark.parametrize("batch_size", [0, -1, 24])
def test_batch_size_that_does_not_fit(batch_size):
    with pytest.raises(DataError, match=f"a batch of {batch_size} cannot be made of 23 training images"):
        batches(batch_size=batch_size)


@pytest.mark.parametrize(
    ("batch_size", "parts", "fix"),
    [(12, 2, "choose 1 to 11"), (1, 24, "accumulate less"), (3, 0, "choose 1")],
)
def test_parts_that_do_not_fit(batch_size, parts, fix):
    with pytest.raises(DataError, match=f"cannot be made of 23 training images; {fix}"):
        batches(batch_size=batch_size, parts=parts)


@pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
def test_evaluation_goes_through_everything_in_order(batch_size):
    images = image_set()
    found = list(evaluation_batches(images, SIZE, PREPROCESSING, 3, batch_size))
    assert [len(labels) for _, labels in found[:-1]] == [batch_size] * (len(found) - 1)
    assert np.concatenate([labels for _, labels in found]).tolist() == list(range(23))
    values = np.concatenate([values for values, _ in found])
    assert np.array_equal(values, to_input(images.load(range(23), SIZE), PREPROCESSING, 3))


def test_images_of_another_size_and_a_grey_network():
    grey = Preprocessing((120.0,), (60.0,))
    made = TrainingBatches(image_set(), (24, 8), grey, 1, 4, 0)
    assert made.batch(0)[0].shape == (4, 1, 24, 8)
    assert replace(made, seed=1).batch(0)[0].shape == (4, 1, 24, 8)
