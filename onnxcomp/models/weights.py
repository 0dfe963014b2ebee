"""Put the weights of a file into a network, by parameter name.

Files are data: ``.safetensors`` holds nothing but tensors, and a PyTorch file is read with
``weights_only=True``, never as an unrestricted pickle.
"""

from __future__ import annotations

import importlib
import math
import re
import tarfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors

from onnxcomp.errors import MissingPackageError, ModelError
from onnxcomp.model import Model
from onnxcomp.nearest import meant_path

Array = npt.NDArray[np.float32]

TORCH_SUFFIXES = (".pth", ".pt")
# Parameters of DataParallel are called module.*; torchvision's first DenseNet files say norm.1 for norm1,
# its first ViT files mlp.linear_1 and mlp.linear_2 for mlp.0 and mlp.3.
_WRAPPER = "module."
_OLD_DENSENET = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..+)")
_OLD_VIT = {"mlp.linear_1.": "mlp.0.", "mlp.linear_2.": "mlp.3."}
_COUNTER = "num_batches_tracked"  # of BatchNormalization; nothing that a network computes with
_FIX = "download or save it again"
# The layers that give the logits: of DenseNet and VGG's cifar form, of VGG and AlexNet, of ResNet, of
# MobileNet, of LeNet and of ViT.
LAST_LAYERS = ("classifier", "classifier.6", "fc", "classifier.1", "fc3", "heads.head")
# What the stem changes: of DenseNet, of ResNet and of AlexNet.
STEM_WEIGHTS = ({"features.conv0.weight"}, {"conv1.weight"}, {"features.0.weight", "classifier.1.weight"})
POSITIONS, PATCHES = "encoder.pos_embedding", "conv_proj.weight"


def load_weights(model: Model, path: Path | str) -> None:
    """Replace every parameter of ``model`` by the tensor of that name in ``path``.

    Parameters are the float32 constants with a shape: a single number is part of the computation. What a
    MatMul reads is stored (inputs, outputs), and found (outputs, inputs) as PyTorch's Linear stores it.

    Args:
        model: edited in place; left alone when the file does not fit.
        path: ``.safetensors`` (F16, BF16, F32 or F64), or ``.pth``/``.pt`` where torch is installed: a
            dict of tensors, or one under ``state_dict``. A leading ``module.`` is dropped, and
            torchvision's old names of DenseNet and ViT are understood.

    Raises:
        ModelError: the file is missing or damaged, or its names or shapes are not the network's.
        MissingPackageError: a PyTorch file without torch.
    """
    path = Path(path)
    where = str(path)
    if not path.is_file():
        raise ModelError("there is no such file", where=where, fix=meant_path(path))
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        values = _canonical(_read_safetensors(path), where)
    elif suffix in TORCH_SUFFIXES:
        values = _canonical(_read_torch(path), where)
    else:
        raise ModelError(
            "not a weights file by its name", where=where, fix="give a .safetensors or .pth file"
        )
    constants = {n: c for n, c in model.constants().items() if c.dtype == np.float32 and len(c.shape)}
    turned = {n.inputs[1].name for n in model.graph.nodes if n.op == "MatMul"} & constants.keys()
    wanted = {n: tuple(c.shape)[:: -1 if n in turned else 1] for n, c in constants.items()}
    _check_fit(wanted, values, where)
    for name, constant in constants.items():
        constant.values = np.ascontiguousarray(values[name].T) if name in turned else values[name]


def _read_safetensors(path: Path) -> dict[str, Array]:
    try:
        tensors = safetensors.deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise ModelError(f"damaged ({error})", where=str(path), fix=_FIX) from error
    return {name: _decode(name, tensor, str(path)) for name, tensor in tensors if not name.endswith(_COUNTER)}


def _decode(name: str, tensor: Mapping[str, Any], where: str) -> Array:
    data, kind = tensor["data"], tensor["dtype"]
    if kind == "BF16":
        # The upper half of a float32.
        values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    elif kind in ("F16", "F32", "F64"):
        values = np.frombuffer(data, f"<f{int(kind[1:]) // 8}")
    else:
        raise ModelError(
            f"tensor {name} is {kind}", where=where, fix="save the weights as float32 or float16"
        )
    return values.astype(np.float32).reshape(tensor["shape"])


def _read_torch(path: Path) -> dict[str, Array]:
    torch = _import_torch(path)
    # torch reads its oldest format, a tar, with a loader that weights_only does not guard in
    # versions up to 2.5.1 (CVE-2025-32434).
    if tarfile.is_tarfile(path):
        raise ModelError(
            "in the tar format of PyTorch before 0.2", where=str(path), fix="save it as .safetensors"
        )
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises UnpicklingError, RuntimeError, EOFError, KeyError alike
        raise ModelError(
            "damaged, or holds more than tensors", where=str(path), fix="save its state_dict() again"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise ModelError(
            "holds no dict of tensors", where=str(path), fix="save the model's state_dict() alone"
        )
    return {
        str(name): tensor.detach().to_dense().to(torch.float32).numpy()
        for name, tensor in content.items()
        if not str(name).endswith(_COUNTER)
    }


def _import_torch(path: Path) -> Any:
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingPackageError(
            "reading it needs torch, which is not installed",
            where=str(path),
            fix="give a .safetensors file, or run: pip install torch",
        ) from error


def _canonical(values: Mapping[str, Array], where: str) -> dict[str, Array]:
    named: dict[str, Array] = {}
    for name, array in values.items():
        own = _OLD_DENSENET.sub(r"\1\2", name.removeprefix(_WRAPPER))
        for old, new in _OLD_VIT.items():
            own = own.replace(old, new)
        if own in named:
            raise ModelError(f"holds {own} twice", where=where, fix=_FIX)
        if not np.isfinite(array).all():
            raise ModelError(f"tensor {name} has values that are not finite", where=where, fix=_FIX)
        named[own] = array
    return named


def _check_fit(wanted: Mapping[str, tuple[int, ...]], values: Mapping[str, Array], where: str) -> None:
    missing = [name for name in wanted if name not in values]
    unexpected = [name for name in values if name not in wanted]
    if missing:
        raise ModelError(f"{_first_of(missing)} missing", where=where, fix="check that it is of this network")
    if unexpected:
        raise ModelError(
            f"{_first_of(unexpected)} unexpected", where=where, fix="check that it is of this network"
        )
    other = [name for name, shape in wanted.items() if values[name].shape != shape]
    if other:
        first = other[0]
        raise ModelError(
            f"{_first_of(other)} of another shape: {values[first].shape}, the network's is {wanted[first]}",
            where=where,
            fix=_shape_fix(other, values),
        )


def _first_of(names: list[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{len(names)} tensors (first: {names[0]}) are"


def _shape_fix(other: Collection[str], values: Mapping[str, Array]) -> str:
    for last in LAST_LAYERS:
        if set(other) <= {f"{last}.weight", f"{last}.bias"}:
            return f"use --num-classes {values[f'{last}.bias'].shape[0]}"
    if set(other) in STEM_WEIGHTS:
        return "use the other --stem"
    if list(other) == [POSITIONS] and values[POSITIONS].ndim == 3:
        patches = values[POSITIONS].shape[1] - 1
        return f"use --input-size {math.isqrt(patches) * values[PATCHES].shape[-1]}"
    return "check that it is of this network"
