"""The ONNX file that an engine is built of, and what TensorRT must be told about it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from onnxcomp import intake
from onnxcomp.deploy.dla.files import read_calibration, read_precisions
from onnxcomp.deploy.write import CALIBRATION, PRECISIONS
from onnxcomp.errors import ModelError, OnnxcompError

LARGEST = 2**31 - 1
FLOAT16 = onnx.TensorProto.FLOAT16
Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Source:
    """An ONNX file with what stands beside it.

    Attributes:
        path: of the file.
        proto: its content, the data of external files included.
        digest: SHA-256 of all that an engine depends on: network, calibration cache and layer precisions.
        inputs: shape of each input by name; None for a free dimension.
        quantised: whether it holds QuantizeLinear or DequantizeLinear.
        calibration: the calibration cache beside it, for a DLA; else None.
        precisions: ``layer:type,layer:type`` from the file beside it, for a DLA; else empty.
    """

    path: Path
    proto: onnx.ModelProto
    digest: str
    inputs: Mapping[str, Shape]
    quantised: bool
    calibration: Path | None = None
    precisions: str = ""

    @property
    def data(self) -> bytes:
        """The file in one piece.

        Raises:
            ModelError: that would be larger than 2 GiB.
        """
        if self.proto.ByteSize() > LARGEST:
            raise ModelError(
                "is larger than 2 GiB", where=str(self.path), fix="such engines are not built yet"
            )
        return bytes(self.proto.SerializeToString(deterministic=True))

    def shapes(
        self, batch: int, given: Mapping[str, Sequence[int]] | None = None
    ) -> dict[str, tuple[int, ...]]:
        """The shape of each input that has a free dimension: ``given``, or with ``batch`` for the first one.

        Raises:
            OnnxcompError: another dimension is free and not given, or what is given does not fit; ``batch``
                is not the file's where that is fixed.
        """
        given = given or {}
        for name in given:
            if name not in self.inputs:
                known = ", ".join(self.inputs)
                raise OnnxcompError(f"there is no input {name}", where=str(self.path), fix=f"it has {known}")
        found = {}
        for name, shape in self.inputs.items():
            wanted = tuple(given.get(name, (batch, *shape[1:]) if shape[:1] == (None,) else shape))
            if None in wanted or len(wanted) != len(shape) or not _fits(wanted, shape):
                raise OnnxcompError(
                    f"input {name} is {_text(shape)}, not {_text(wanted)}",
                    where=str(self.path),
                    fix=f"give its shape with --shape {name}:1x3x224x224, for example",
                )
            if name not in given and shape[:1] not in ((None,), (batch,)) and len(shape) == 4:
                raise OnnxcompError(
                    f"is of a fixed batch of {shape[0]}", where=str(self.path), fix=f"give --batch {shape[0]}"
                )
            if None in shape:
                found[name] = tuple(int(size) for size in wanted if size is not None)
        return found


def _fits(wanted: Sequence[int | None], shape: Shape) -> bool:
    return all(size is None or size == other for size, other in zip(shape, wanted, strict=True))


def _text(shape: Sequence[int | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape)


def read(path: Path, *, dla: bool = False) -> Source:
    """Read an ONNX file; for a DLA also what ``finalize`` wrote beside it.

    Raises:
        ModelError: it is not ONNX, its data is missing, or a file beside it is damaged.
    """
    proto = intake.read(path)
    constants = {tensor.name for tensor in proto.graph.initializer}
    inputs = {entry.name: _shape(entry) for entry in proto.graph.input if entry.name not in constants}
    operators = {node.op_type for node in proto.graph.node}
    calibration, precisions = _beside(path) if dla else (None, "")
    content = hashlib.sha256(proto.SerializeToString(deterministic=True))
    content.update(calibration.read_bytes() if calibration else b"")
    content.update(precisions.encode())
    return Source(
        path=path,
        proto=proto,
        digest=content.hexdigest(),
        inputs=inputs,
        quantised=bool(operators & {"QuantizeLinear", "DequantizeLinear"}),
        calibration=calibration,
        precisions=precisions,
    )


def _shape(entry: onnx.ValueInfoProto) -> Shape:
    dims = entry.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in dims)


def _beside(path: Path) -> tuple[Path | None, str]:
    calibration, precisions = path.with_suffix(CALIBRATION), path.with_suffix(PRECISIONS)
    if not calibration.is_file():
        return None, ""
    read_calibration(calibration)
    return calibration, read_precisions(precisions)
