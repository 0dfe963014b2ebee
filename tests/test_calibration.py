"""How many images calibrate, and which."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import calibration
from onnxcomp.data import DataSet, ImageSet
from onnxcomp.errors import DataError, ModelError
from onnxcomp.model import Preprocessing, from_proto
from tests import zoo

CLASSES = tuple("0123456789")


def numbered(count: int) -> DataSet:
    """Images of one colour each: image i is i everywhere."""
    pixels = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 16, 16, 3))
    images = ImageSet.from_arrays(pixels.copy(), np.arange(count) % 10, CLASSES)
    return DataSet("numbered", images, images)


def sizes_and_images(batch: str | int, images: int, of: int = 100) -> tuple[list[int], list[int]]:
    model = from_proto(zoo.mlp(batch=batch))
    model.preprocessing = Preprocessing((0.0,) * 3, (1.0,) * 3)
    batches = list(calibration.from_data(model, numbered(of), images=images, threads=1).batches())
    return [len(b) for b in batches], [int(image[0, 0, 0]) for b in batches for image in b]


@pytest.mark.parametrize(
    ("batch", "images", "sizes"),
    [
        *(("N", 1, [1]), ("N", 10, [10]), ("N", 70, [64, 6]), ("N", 500, [64, 36])),
        *((8, 1, [8]), (8, 16, [8, 8]), (8, 17, [8, 8, 8])),
    ],
)
def test_as_many_images_as_asked_for(batch: str | int, images: int, sizes: list[int]) -> None:
    found, chosen = sizes_and_images(batch, images)
    assert found == sizes
    expected = np.linspace(0, 99, sum(sizes)).astype(int)
    assert sorted(chosen) == expected.tolist()
    assert len(chosen) < 10 or chosen != sorted(chosen)


def test_a_fixed_batch_above_the_number_of_images_repeats_some() -> None:
    found, chosen = sizes_and_images(8, 5, of=5)
    assert found == [8]
    assert set(chosen) == set(range(5))


def test_observations_see_the_input_and_the_inside() -> None:
    model = from_proto(zoo.mlp())
    images = np.full((2, *model.image_shape), -3, np.float32)
    seen = calibration.ImageCalibration(lambda: [images, images], 1).observe(model, ["input", "active"])
    assert seen["input"].largest == 3
    assert seen["input"].counts.sum() == 2 * images.size
    assert seen["active"].counts.sum() == 2 * 2 * 32


def test_an_activation_that_is_not_finite_is_refused() -> None:
    model = from_proto(zoo.mlp())
    bias = model.logits.inputs[0].inputs[1]
    bias.values = np.full_like(bias.values, np.inf)
    images = np.zeros((2, *model.image_shape), np.float32)
    with pytest.raises(ModelError, match=f"calibration: activation {model.logits.name} is not finite"):
        calibration.ImageCalibration(lambda: [images], 1).observe(model, ["input", model.logits.name])


def test_images_that_are_not_finite_are_bad_data_and_not_a_bad_network() -> None:
    model = from_proto(zoo.mlp())
    images = np.zeros((2, *model.image_shape), np.float32)
    for value in (np.nan, np.inf, -np.inf):
        images[1, 0, 0, 0] = value
        with pytest.raises(DataError, match=r"the images hold values that are not finite \(input input\)"):
            calibration.ImageCalibration(lambda: [images], 1).observe(model, [model.logits.name])


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 1, 16, 16), np.float32),
        np.zeros((2, 3, 8, 16), np.float32),
        np.zeros((2, 16, 16, 3), np.float32),
        np.zeros((3, 16, 16), np.float32),
        np.zeros((2, 3, 16, 16), np.float64),
        np.zeros((2, 3, 16, 16), np.uint8),
    ],
    ids=lambda images: f"{images.dtype} {images.shape}",
)
def test_images_that_the_network_does_not_take_are_refused(images: np.ndarray) -> None:
    model = from_proto(zoo.mlp())
    with pytest.raises(DataError, match=r"takes float32 \(N, 3, 16, 16\)"):
        calibration.ImageCalibration(lambda: [images], 1).observe(model, [model.logits.name])


def test_no_image_is_refused() -> None:
    model = from_proto(zoo.mlp())
    for histogram in (True, False):
        with pytest.raises(DataError, match="calibration: holds no image to calibrate on"):
            calibration.ImageCalibration(list, 1).observe(model, [model.logits.name], histogram=histogram)


def test_images_of_0_and_1_are_refused_and_black_ones_are_not() -> None:
    model = from_proto(zoo.mlp())
    model.preprocessing = Preprocessing((0.0,) * 3, (1.0,) * 3)
    with pytest.raises(DataError, match="data numbered: the images hold nothing but 0 and 1"):
        list(calibration.from_data(model, numbered(2), images=2, threads=1).batches())
    assert len(list(calibration.from_data(model, numbered(1), images=1, threads=1).batches())) == 1


def test_a_batch_is_run_in_parts_that_fit_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model = from_proto(zoo.resnet())
    images = np.random.default_rng(0).standard_normal((10, *model.image_shape)).astype(np.float32)
    names = [node.outputs[0].name for node in model.graph.nodes if node.op == "Relu"]
    source = calibration.ImageCalibration(lambda: [images], 1)
    (whole,) = source.run(model, names)
    one = sum(values[0].nbytes for values in whole.values())
    monkeypatch.setattr(calibration, "MEMORY", 4 * one)
    parts = list(source.run(model, names))
    assert [len(part[names[0]]) for part in parts] == [4, 4, 2]
    for name in names:
        # One image gives the same in any batch, but for the order of sums in float32.
        np.testing.assert_allclose(np.concatenate([part[name] for part in parts]), whole[name], atol=1e-5)
    first = source.observe(model, names)
    monkeypatch.undo()
    second = source.observe(model, names)
    for name in names:  # parts are no batches of their own to the moving range
        found = [
            (seen[name].batches, seen[name].moving_low, seen[name].moving_high) for seen in (first, second)
        ]
        assert found[0] == pytest.approx(found[1], rel=1e-6)
        assert found[0][0] == 1
    # Less room than a single image takes.
    monkeypatch.setattr(calibration, "MEMORY", 1)
    assert len(list(source.run(model, names))) == 10
    fixed = from_proto(zoo.resnet(batch=10))
    assert len(list(source.run(fixed, names))) == 1
