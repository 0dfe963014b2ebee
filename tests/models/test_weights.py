"""Weights from files: every format, every name, every refusal."""

from __future__ import annotations

import io
import json
import pickle
import struct
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from onnxcomp import models
from onnxcomp.errors import MissingPackageError, ModelError
from onnxcomp.model import Model
from onnxcomp.models.weights import load_weights

Arrays = dict[str, np.ndarray]


def build(**options: Any) -> Model:
    return models.build("densenet-bc-40-12", **{"num_classes": 10, "input_size": 8, **options})


def values(model: Model) -> Arrays:
    return {name: constant.values for name, constant in model.constants().items()}


@pytest.fixture(scope="module")
def trained() -> Arrays:
    """Other weights than those of seed 0, with statistics that are not 0 and 1."""
    rng = np.random.default_rng(1)
    return {
        name: rng.uniform(0.5, 1.5, array.shape).astype(np.float32) for name, array in values(build()).items()
    }


def write(path: Path, arrays: Arrays) -> Path:
    save_file(arrays, path)
    return path


def assert_loaded(model: Model, expected: Arrays) -> None:
    found = values(model)
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_safetensors(tmp_path: Path, trained: Arrays, dtype: type) -> None:
    stored: Arrays = {name: array.astype(dtype) for name, array in trained.items()}
    model = build()
    load_weights(model, write(tmp_path / "w.safetensors", stored))
    assert_loaded(model, {name: array.astype(np.float32) for name, array in stored.items()})


def test_bfloat16_is_the_upper_half_of_a_float32(tmp_path: Path, trained: Arrays) -> None:
    upper = {name: (array.view("<u4") >> 16).astype("<u2") for name, array in trained.items()}
    path = tmp_path / "w.safetensors"
    header, data = {}, b""
    for name, array in upper.items():
        header[name] = {
            "dtype": "BF16", "shape": array.shape, "data_offsets": [len(data), len(data) + array.nbytes],
        }  # fmt: skip
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    model = build()
    load_weights(model, path)
    assert_loaded(model, {n: (a.astype("<u4") << 16).view("<f4") for n, a in upper.items()})


def test_counters_and_wrappers_and_old_names(tmp_path: Path, trained: Arrays) -> None:
    def old(name: str) -> str:
        for number in "12":
            for kind in ("norm", "conv"):
                name = name.replace(f".{kind}{number}.", f".{kind}.{number}.")
        return "module." + name

    stored = {old(name): array for name, array in trained.items()}
    assert "module.features.denseblock1.denselayer1.norm.1.weight" in stored
    assert "module.features.norm0.weight" in stored
    stored["module.features.norm0.num_batches_tracked"] = np.array(7)
    model = build()
    load_weights(model, write(tmp_path / "w.safetensors", stored))
    assert_loaded(model, trained)


def drop(arrays: Arrays, *names: str) -> Arrays:
    return {name: array for name, array in arrays.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            lambda w: drop(w, "classifier.bias"),
            {},
            "classifier.bias is missing; check that it is of this network",
        ),
        (
            lambda w: drop(w, "features.conv0.weight", "classifier.bias"),
            {},
            "2 tensors (first: features.conv0.weight) are missing; check that it is of this network",
        ),
        (
            lambda w: {**w, "fc.weight": np.zeros(1, np.float32)},
            {},
            "fc.weight is unexpected; check that it is of this network",
        ),
        (
            lambda w: w,
            {"num_classes": 7},
            "2 tensors (first: classifier.weight) are of another shape: (10, 132), the network's is (7, 132);"
            " use --num-classes 10",
        ),
        (
            lambda w: w,
            {"stem": "imagenet", "input_size": 32},
            "features.conv0.weight is of another shape: (24, 3, 3, 3), the network's is (24, 3, 7, 7);"
            " use the other --stem",
        ),
        (
            lambda w: {**w, "features.norm0.bias": np.zeros(2, np.float32)},
            {},
            "features.norm0.bias is of another shape: (2,), the network's is (24,);"
            " check that it is of this network",
        ),
        (
            lambda w: {**w, "classifier.bias": np.array([0, np.nan], np.float32)},
            {},
            "tensor classifier.bias has values that are not finite; download or save it again",
        ),
        (
            lambda w: {**w, "classifier.bias": np.zeros(10, np.int32)},
            {},
            "tensor classifier.bias is I32; save the weights as float32 or float16",
        ),
        (
            lambda w: {**w, "module.classifier.bias": np.zeros(10, np.float32)},
            {},
            "holds classifier.bias twice; download or save it again",
        ),
    ],
)
def test_a_file_that_does_not_fit(
    tmp_path: Path, trained: Arrays, change: Callable[[Arrays], Arrays], options: dict, message: str
) -> None:
    path = write(tmp_path / "w.safetensors", change(trained))
    model = build(**options)
    before = values(model)
    with pytest.raises(ModelError) as refusal:
        load_weights(model, path)
    assert str(refusal.value) == f"{path}: {message}"
    assert_loaded(model, before)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 64])
def test_damaged_safetensors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"w\.safetensors: damaged \(.+\); download or save it again$"):
        load_weights(build(), path)


def test_truncated_safetensors(tmp_path: Path, trained: Arrays) -> None:
    path = write(tmp_path / "w.safetensors", trained)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"w\.safetensors: damaged \(.+\); download or save it again$"):
        load_weights(build(), path)


def test_no_such_file_and_another_kind_of_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"w\.safetensors: there is no such file; check the path$"):
        load_weights(build(), tmp_path / "w.safetensors")
    (tmp_path / "w.h5").write_bytes(b"")
    with pytest.raises(
        ModelError, match=r"w\.h5: not a weights file by its name; give a \.safetensors or \.pth"
    ):
        load_weights(build(), tmp_path / "w.h5")


def test_pytorch_file_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it raises ModuleNotFoundError
    with pytest.raises(MissingPackageError) as refusal:
        load_weights(build(), path)
    assert str(refusal.value) == (
        f"{path}: reading it needs torch, which is not installed;"
        " give a .safetensors file, or run: pip install torch"
    )


def test_pytorch_tar_is_refused_before_torch_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.pth"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    with pytest.raises(
        ModelError, match=r"in the tar format of PyTorch before 0\.2; save it as \.safetensors$"
    ):
        load_weights(build(), path)


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="needs torch, which is not installed here")


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("legacy", [False, True])
def test_pytorch(tmp_path: Path, trained: Arrays, torch: Any, wrapped: bool, legacy: bool) -> None:
    content: Any = {f"module.{name}": torch.from_numpy(array).half() for name, array in trained.items()}
    content["module.features.norm0.num_batches_tracked"] = torch.tensor(3)
    if wrapped:
        content = {"state_dict": content, "epoch": 3}
    path = tmp_path / "w.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    model = build()
    load_weights(model, path)
    assert_loaded(
        model, {name: array.astype(np.float16).astype(np.float32) for name, array in trained.items()}
    )


class Harmful:
    """Writes a file when it is unpickled without restriction."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_a_pickle_is_never_run(tmp_path: Path, torch: Any) -> None:
    path, target = tmp_path / "w.pth", tmp_path / "target"
    for save in (torch.save, lambda content, name: name.write_bytes(pickle.dumps(content))):
        save({"classifier.bias": Harmful(target)}, path)
        with pytest.raises(
            ModelError, match=r"damaged, or holds more than tensors; save its state_dict\(\) again"
        ):
            load_weights(build(), path)
        assert not target.exists()


def test_pytorch_file_of_something_else(tmp_path: Path, torch: Any) -> None:
    path = tmp_path / "w.pth"
    for content in ([torch.zeros(1)], {"epoch": 3}, torch.zeros(1)):
        torch.save(content, path)
        with pytest.raises(
            ModelError, match=r"holds no dict of tensors; save the model's state_dict\(\) alone"
        ):
            load_weights(build(), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="damaged, or holds more than tensors"):
        load_weights(build(), path)
