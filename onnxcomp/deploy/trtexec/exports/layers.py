"""What each layer of an engine is: ``--exportLayerInfo``, the JSON of TensorRT's IEngineInspector.

"Engine Inspector" in NVIDIA's guide; "Migrating IEngineInspector Usage from TensorRT 10.x to 11.x" for what
11 changed: ``Bindings`` became ``I/O Tensors``, and ``Format/Datatype`` two fields. A layer is an object only
where the engine was built with ``--profilingVerbosity=detailed``; otherwise it is its name. Formats are those
of ``getTensorFormatDesc`` in NvInferRuntime.h, or a bare type where Myelin made the layer (10.x). What is
missing or of another kind than expected is passed over: only a file without a list of layers is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxcomp.deploy.trtexec.exports.tolerant import FIX, ExportError, number, read_json, read_text

TYPES = {
    "FP64": ("fp64", "double"),
    "FP32": ("fp32", "float", "float32"),
    "FP16": ("fp16", "half", "float16"),
    "BF16": ("bf16", "bfloat16"),
    "FP8": ("fp8",),
    "FP4": ("fp4",),
    "INT8": ("int8",),
    "INT4": ("int4",),
    "UINT8": ("uint8",),
    "INT64": ("int64",),
    "INT32": ("int32",),
    "BOOL": ("bool",),
}
BY_WORD = {word: name for name, words in TYPES.items() for word in words}
WORD = re.compile(r"\b(?:" + "|".join(BY_WORD) + r")\b", re.IGNORECASE)
ENTRY = re.compile(r"[\x1e\x1f]|(?<=\])(?=\[ONNX Layer: )")
ENTRY_START, ENTRY_END = "[ONNX Layer: ", "]"


@dataclass(frozen=True)
class Tensor:
    """What a layer reads or writes.

    Attributes:
        shape: -1 for a size that is free; empty where it is not said.
        format: how it lies in memory, in TensorRT's words.
        type: one of :data:`TYPES`, "" where it is not said.
    """

    name: str
    shape: tuple[int, ...]
    format: str
    type: str


@dataclass(frozen=True)
class LayerInfo:
    """One layer of an engine.

    Attributes:
        name: as TensorRT calls it.
        kind: its LayerType, "" where only names were written.
        parameters: its ParameterType, for example "Convolution".
        origin: why a Reformat is there: "QDQ" for a node of the network, "REFORMAT" for TensorRT's own wish.
        weights: type of its weights, one of :data:`TYPES`; "" for none.
        sparse_weights: whether they have the 2:4 pattern; None where it is not said.
        tactic: name of its kernel, "" where it is not said.
        onnx: names of the ONNX nodes that it was made of (8.6 and newer); None where it is not said.
    """

    name: str
    kind: str = ""
    parameters: str = ""
    origin: str = ""
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    weights: str = ""
    sparse_weights: bool | None = None
    tactic: str = ""
    onnx: tuple[str, ...] | None = None


@dataclass(frozen=True)
class EngineLayers:
    """All layers, in the order in which they run.

    Attributes:
        detailed: whether more than names was written.
        bindings: names of the engine's inputs and outputs.
    """

    detailed: bool
    layers: tuple[LayerInfo, ...]
    bindings: tuple[str, ...]


def read_layers(path: Path) -> EngineLayers:
    """Read a file of ``--exportLayerInfo``.

    Raises:
        ExportError: it cannot be read, is something else, or is cut off.
    """
    return parse_layers(read_text(path), str(path))


def parse_layers(text: str, where: str) -> EngineLayers:
    """As :func:`read_layers`, from the text.

    Raises:
        ExportError: it is something else, or cut off.
    """
    found = read_json(text, where)
    listed = found.get("Layers") if isinstance(found, Mapping) else None
    if not isinstance(listed, list):
        raise ExportError("is not what trtexec writes for --exportLayerInfo", where=where, fix=FIX)
    layers = tuple(_layer(each) for each in listed if isinstance(each, str | Mapping))
    detailed = any(isinstance(each, Mapping) and len(each) > 1 for each in listed)
    return EngineLayers(detailed, layers, _bindings(found))


def type_of(text: str) -> str:
    """The type that a format names, one of :data:`TYPES`; "" where it names none."""
    found = WORD.search(text)
    return BY_WORD[found[0].lower()] if found else ""


def onnx_names(metadata: str) -> tuple[str, ...]:
    """Names in ``[ONNX Layer: a]\\x1e[ONNX Layer: b]``, each once."""
    entries = (each for each in ENTRY.split(metadata) if each.startswith(ENTRY_START))
    names = (each.removeprefix(ENTRY_START).removesuffix(ENTRY_END) for each in entries)
    return tuple(dict.fromkeys(names))


def _bindings(found: Mapping[str, Any]) -> tuple[str, ...]:
    listed = found.get("Bindings", found.get("I/O Tensors"))
    names = [each.get("Name") if isinstance(each, Mapping) else each for each in _list(listed)]
    return tuple(name for name in names if isinstance(name, str))


def _layer(raw: str | Mapping[str, Any]) -> LayerInfo:
    if isinstance(raw, str):
        return LayerInfo(raw)
    keys = {
        key.lower(): value for key, value in raw.items()
    }  # 8.2's own documents write them in small letters
    weights = keys.get("weights", keys.get("convweights"))
    kind = _keys(weights).get("type") if isinstance(weights, Mapping) else ""
    metadata = keys.get("metadata")
    return LayerInfo(
        name=_text(keys.get("name")),
        kind=_text(keys.get("layertype")),
        parameters=_text(keys.get("parametertype")),
        origin=_text(keys.get("origin")),
        inputs=tuple(_tensor(each) for each in _list(keys.get("inputs")) if isinstance(each, Mapping)),
        outputs=tuple(_tensor(each) for each in _list(keys.get("outputs")) if isinstance(each, Mapping)),
        weights=type_of(_text(kind)),
        sparse_weights=_sparse(keys),
        tactic=_text(keys.get("tacticname")),
        onnx=onnx_names(metadata) if isinstance(metadata, str) else None,
    )


def _keys(raw: Mapping[str, Any]) -> dict[str, Any]:
    """By small letters: documents of 8.2 write ``layerType``, files of 11 ``DataType``."""
    return {key.lower(): value for key, value in raw.items()}


def _sparse(keys: Mapping[str, Any]) -> bool | None:
    """Pooling fused into a convolution puts "Conv" before the name; 8.0 called it AllowSparse."""
    for key in ("hassparseweights", "convhassparseweights", "allowsparse"):
        if (
            value := number(int(keys[key]) if isinstance(keys.get(key), bool) else keys.get(key))
        ) is not None:
            return value != 0
    return None


def _tensor(raw: Mapping[str, Any]) -> Tensor:
    keys = _keys(raw)
    joined = _text(keys.get("format/datatype"))
    layout, kind = _text(keys.get("format")), _text(keys.get("datatype"))
    sizes = [number(each) for each in _list(keys.get("dimensions"))]
    return Tensor(
        name=_text(keys.get("name")),
        shape=tuple(-1 if each is None else int(each) for each in sizes),
        format=joined or layout,
        type=type_of(kind) or type_of(joined or layout),
    )


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
