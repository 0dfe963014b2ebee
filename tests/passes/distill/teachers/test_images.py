from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxcomp.model import Preprocessing, from_proto
from onnxcomp.passes.distill.teachers.images import _factor
from tests import run
from tests.passes.distill.teachers.scene import TOLERANCE, alone, beside, proto, student, written

CIFAR = Preprocessing((125.3, 123.0, 113.9), (63.0, 62.1, 66.7))
IMAGENET = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
KERAS = Preprocessing((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))


def bilinear(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Half-pixel centres, the edge repeated; float64."""

    def matrix(old: int, new: int) -> np.ndarray:
        weights = np.zeros((new, old))
        for i in range(new):
            place = min(max((i + 0.5) * old / new - 0.5, 0), old - 1)
            low = int(place)
            high = min(low + 1, old - 1)
            weights[i, low] += 1 - (place - low)
            weights[i, high] += place - low
        return weights

    down, across = matrix(images.shape[2], height), matrix(images.shape[3], width)
    return np.einsum("ah,nchw,bw->ncab", down, images.astype(np.float64), across)


@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize("size", [24, 32, 10, 7])
@pytest.mark.parametrize("name", ["mobilenet", "mlp"])
def test_another_size(tmp_path: Path, name: str, size: int, opset: int) -> None:
    path = written(proto(name, 13, size=size), tmp_path)
    network = student(opset)
    images = run.images(network)
    found, answers = beside(network, path, resize=True)
    expected = alone(path, bilinear(images, size, size).astype(np.float32))
    np.testing.assert_allclose(answers, expected, atol=TOLERANCE, rtol=0)
    assert f"its images are scaled from 16x16 to {size}x{size}" in found.notes
    (resize,) = [node for node in network.graph.nodes if node.op == "Resize"]
    assert resize.name == "teacher/adapt/resize"
    assert resize.outputs[0].shape == ["N", 3, size, size]


def test_every_size_is_met_exactly() -> None:
    """As ONNX Runtime and shape inference work the size out: floor(size * factor) in float32."""
    for old in range(1, 130):
        for new in range(1, 130):
            assert int(np.float32(old) * _factor(old, new)) == new, (old, new)


@pytest.mark.parametrize("own", [IMAGENET, KERAS])
def test_other_means_and_deviations(tmp_path: Path, own: Preprocessing) -> None:
    teacher = from_proto(proto("densenet"))
    teacher.preprocessing = own
    path = written(teacher, tmp_path)
    network = student()
    network.preprocessing = CIFAR
    pixels = np.random.default_rng(0).uniform(0, 255, (4, 3, 16, 16))

    def normalised(how: Preprocessing) -> np.ndarray:
        mean, std = (np.reshape(values, (1, 3, 1, 1)) for values in (how.mean, how.std))
        return ((pixels - mean) / std).astype(np.float32)

    found, answers = beside(network, path, images=normalised(CIFAR))
    np.testing.assert_allclose(answers, alone(path, normalised(own)), atol=TOLERANCE, rtol=0)
    assert np.abs(answers - alone(path, normalised(CIFAR))).max() > 1e-2
    assert "its images are normalised its way" in found.notes


@pytest.mark.parametrize(("own", "given"), [(None, CIFAR), (None, None), (CIFAR, CIFAR)])
def test_images_stay_where_the_teacher_says_nothing_or_both_the_same(
    tmp_path: Path, own: Preprocessing | None, given: Preprocessing | None
) -> None:
    teacher, network = from_proto(proto("mobilenet")), student()
    teacher.preprocessing, network.preprocessing = own, given
    path = written(teacher, tmp_path)
    found, answers = beside(network, path)
    assert np.array_equal(answers, alone(path, run.images(network)))
    assert len(found.notes) == 1


def test_size_and_normalisation_and_layout_together(tmp_path: Path) -> None:
    from tests.passes.distill.teachers.test_reading import channels_last

    made = channels_last(proto("mobilenet", 13, 1, size=24))
    made.metadata_props.add(
        key="onnxcomp.preprocessing", value='{"mean": [127.5, 127.5, 127.5], "std": [127.5, 127.5, 127.5]}'
    )
    path = written(made, tmp_path)
    network = student(17)
    network.preprocessing = CIFAR
    images = run.images(network)
    _, answers = beside(network, path, resize=True)
    mean, std = (np.reshape(values, (1, 3, 1, 1)) for values in (CIFAR.mean, CIFAR.std))
    seen = bilinear((images * std + mean - 127.5) / 127.5, 24, 24).astype(np.float32)
    np.testing.assert_allclose(answers, alone(path, seen.transpose(0, 2, 3, 1), 1), atol=TOLERANCE, rtol=0)
