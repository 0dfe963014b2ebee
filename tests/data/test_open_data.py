from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.data import TrainingBatches, cifar, open_data
from onnxcomp.errors import DataError
from onnxcomp.model import Preprocessing
from tests.shared import SHARED, needs_shared


@pytest.mark.parametrize(
    ("spec", "fix"),
    [
        ("digit", "did you mean digits?"),
        ("CIFAR-10", "did you mean cifar10?"),
        ("no/such/folder", "give digits, cifar10, an image folder, or a file .zip, .npz, .tar.gz, .tgz"),
        ("", "give digits, cifar10"),
        ("x" * 5000, "give digits, cifar10"),
    ],
)
def test_unknown_name_or_path(spec, fix):
    with pytest.raises(DataError) as caught:
        open_data(spec)
    assert "there is no such data set, file or folder" in str(caught.value)
    assert fix in str(caught.value)


def test_file_of_another_kind(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"x")
    with pytest.raises(DataError, match=r"model.onnx: its name ends like none of the known kinds"):
        open_data(str(path))


@needs_shared
def test_cifar10_as_an_image_folder():
    data = open_data(str(SHARED / "data/cifar10-images.zip"))
    assert (len(data.train), len(data.test)) == (50_000, 10_000)
    assert data.classes == cifar.CLASSES
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    # The original set's figures (shared/data/README.md); re-encoding moves them by less than 1 %.
    assert np.array(data.mean) / 255 == pytest.approx([0.4914, 0.4822, 0.4465], rel=0.01)
    assert np.array(data.std) / 255 == pytest.approx([0.2470, 0.2435, 0.2616], rel=0.01)
    batches = TrainingBatches(data.train, (32, 32), Preprocessing(data.mean, data.std), 3, 32, 0)
    images, labels = batches.batch(batches.steps_per_epoch)
    assert images.shape == (32, 3, 32, 32)
    assert abs(images.mean()) < 0.5
    assert len(set(labels.tolist())) > 3
