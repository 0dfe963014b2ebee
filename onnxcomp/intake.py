"""Which files and networks onnxcomp takes: every refusal of one that it does not, in one place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx_graphsurgeon as gs

from onnxcomp import shape_inference
from onnxcomp.errors import ModelError
from onnxcomp.nearest import meant_path
from onnxcomp.skeleton import Arrays, split

MIN_OPSET, MAX_OPSET = 13, 21
MOST_BYTES = 2**31
_EXPORT_AGAIN = "export the model again"
_CLASSIFIER = "export the classifier alone"


def read(path: Path) -> onnx.ModelProto:
    """The ModelProto in the file ``path``, with its external data.

    Raises:
        ModelError: the file is missing or cannot be read, is not ONNX, or is damaged.
    """
    where = str(path)
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size < MOST_BYTES else b""
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a null byte
        raise ModelError("there is no such file", where=where, fix=meant_path(path)) from error
    except OSError as error:
        raise ModelError(f"cannot be read ({error.strerror})", where=where, fix="check the file") from error
    if size >= MOST_BYTES:
        raise ModelError(
            f"not an ONNX file: it has {size / 2**30:.2f} GiB, and one holds less than 2 GiB",
            where=where,
            fix="check the path",
        )
    try:
        proto = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's DecodeError, whose module differs between versions
        raise ModelError("not an ONNX file, or a truncated one", where=where, fix=_EXPORT_AGAIN) from error
    if not proto.graph.node or not proto.opset_import:
        raise ModelError("not an ONNX file: it holds no graph", where=where, fix=_EXPORT_AGAIN)
    if not _is_text(proto):
        raise ModelError("damaged: a name in it is not text", where=where, fix=_EXPORT_AGAIN)
    _load_external_data(proto, path)
    return proto


def _is_text(message: Any) -> bool:
    """Whether every string of a message, and of those in it, is UTF-8; protobuf gives others as bytes."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            values = [value] if isinstance(value, str | bytes) else value
            if not all(isinstance(item, str) for item in values):
                return False
        elif field.type == field.TYPE_MESSAGE:
            values = [value] if hasattr(value, "ListFields") else value
            if not all(_is_text(item) for item in values):
                return False
    return True


def _load_external_data(proto: onnx.ModelProto, path: Path) -> None:
    folder = path.parent.resolve()
    outside = [tensor for tensor in _tensors(proto.graph) if _is_external(tensor)]
    for tensor in outside:
        _check_location(tensor, folder, path)
    if not outside:
        return
    _check_size(outside, folder, path)
    try:
        onnx.load_external_data_for_model(proto, str(folder))
    except Exception as error:  # onnx raises ValidationError, ValueError and OSError alike
        raise ModelError("its external data cannot be read", where=str(path), fix=_EXPORT_AGAIN) from error


def _check_size(tensors: Sequence[onnx.TensorProto], folder: Path, path: Path) -> None:
    """Before gigabytes are read: a message of protobuf's, which every step writes, holds less than 2 GiB."""
    files = {folder / _location(tensor) for tensor in tensors}
    size = sum(file.stat().st_size for file in files)
    if size >= MOST_BYTES:
        raise ModelError(
            f"keeps {size / 2**30:.2f} GiB in external data, and less than 2 GiB are possible",
            where=str(path),
            fix="choose a smaller network",
        )


def _location(tensor: onnx.TensorProto) -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _is_external(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def _check_location(tensor: onnx.TensorProto, folder: Path, path: Path) -> None:
    location = _location(tensor)
    try:
        target = (folder / location).resolve()
        inside = folder in target.parents
        found = inside and target.is_file()
    except (OSError, ValueError):  # a null byte, or a name too long for any file
        inside, found = True, False
    if not inside:
        raise ModelError(
            f"tensor {tensor.name} keeps its data outside the model's folder ({location})",
            where=str(path),
            fix="move the data file beside the model and save it again",
        )
    if not found:
        raise ModelError(
            f"the data file {location!r} of tensor {tensor.name} is missing",
            where=str(path),
            fix="copy it beside the model",
        )


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every stored tensor, those in attributes and in subgraphs included."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
    for subgraph in _subgraphs(graph):
        yield from _tensors(subgraph)


def _subgraphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g
            yield from attribute.graphs


def check_opset(proto: onnx.ModelProto, where: str) -> None:
    """Only standard operators, of an opset that onnxcomp knows.

    Raises:
        ModelError: otherwise; names the first operator that is not standard.
    """
    versions = {entry.domain or "ai.onnx": entry.version for entry in proto.opset_import}
    opset = versions.get("ai.onnx", 0)
    if not MIN_OPSET <= opset <= MAX_OPSET:
        raise ModelError(
            f"opset {opset} is outside {MIN_OPSET} to {MAX_OPSET}",
            where=where,
            fix="export again with opset 17, or use onnx.version_converter",
        )
    _check_domains(proto.graph, where)


def _check_domains(graph: onnx.GraphProto, where: str) -> None:
    for node in graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise ModelError(
                f"node {node.name or next(iter(node.output), '')} is {node.domain}::{node.op_type},"
                " not a standard ONNX operator",
                where=where,
                fix="export without custom operators",
            )
    for subgraph in _subgraphs(graph):
        _check_domains(subgraph, where)


def infer_shapes(proto: onnx.ModelProto, where: str) -> tuple[onnx.ModelProto, Arrays]:
    """A checked copy of ``proto`` that knows the shape of each tensor, and its large arrays apart.

    Raises:
        ModelError: it breaks the ONNX specification.
    """
    try:
        light, arrays = split(proto)
        onnx.checker.check_model(light)
        inferred: onnx.ModelProto = shape_inference.infer_shapes(light, check_type=True, strict_mode=True)
    except Exception as error:  # onnx raises ValidationError, InferenceError, TypeError, RuntimeError
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0] if lines else type(error).__name__
        raise ModelError(f"not a valid network: {reason}", where=where, fix="export it again") from error
    return inferred, arrays


def check_image(inputs: Sequence[gs.Tensor], where: str) -> None:
    """One float32 input (N, 1 or 3, H, W) with H and W fixed; ``inputs`` are all but the labels.

    Raises:
        ModelError: otherwise.
    """
    if len(inputs) != 1:
        raise ModelError(
            f"has {_count(inputs, 'input')}; one image is expected", where=where, fix=_CLASSIFIER
        )
    image = inputs[0]
    shape = image.shape
    if image.dtype != "float32" or shape is None or len(shape) != 4 or shape[1] not in (1, 3):
        raise ModelError(
            f"input {image.name} is {image.dtype} {shape}; float32 (N, 1 or 3, H, W) is expected",
            where=where,
            fix="export in float32 with channels first",
        )
    if not all(isinstance(size, int) and size > 0 for size in shape[2:]):
        raise ModelError(
            f"the height and width of input {image.name} are dynamic ({shape})",
            where=where,
            fix=(
                "fix them, for example: python -m onnxruntime.tools.make_dynamic_shape_fixed"
                f" --input_name {image.name} --input_shape 1,{shape[1]},224,224 in.onnx out.onnx"
            ),
        )


def check_logits(outputs: Sequence[gs.Tensor], where: str) -> None:
    """One float32 output (N, classes); ``outputs`` are all but the losses.

    Raises:
        ModelError: otherwise.
    """
    if len(outputs) != 1:
        raise ModelError(
            f"has {_count(outputs, 'output')}; one of logits is expected", where=where, fix=_CLASSIFIER
        )
    logits = outputs[0]
    shape = logits.shape
    known = shape is not None and len(shape) == 2 and isinstance(shape[1], int) and shape[1] > 0
    if logits.dtype != "float32" or not known:
        raise ModelError(
            f"output {logits.name} is {logits.dtype} {shape}; float32 (N, classes) is expected",
            where=where,
            fix="export a classifier whose output is the logits",
        )


def _count(tensors: Sequence[gs.Tensor], kind: str) -> str:
    names = f" ({', '.join(tensor.name for tensor in tensors)})" if tensors else ""
    return f"{len(tensors)} {kind}{'' if len(tensors) == 1 else 's'}{names}"
