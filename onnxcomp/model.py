"""A network and what travels with it: load, save, and the role of each tensor.

The graph is an onnx-graphsurgeon graph in one canonical shape (see :mod:`onnxcomp.tidy`). Everything
else that later steps need (how to normalise an image, the recipe, which tensor is a mask or a
scale) lives in the file's ``metadata_props`` under ``onnxcomp.*``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

import onnx
import onnx_graphsurgeon as gs

from onnxcomp import files
from onnxcomp.errors import ModelError
from onnxcomp.tidy import tidy

MIN_OPSET, MAX_OPSET = 13, 21
IR_VERSION = 8  # the newest that TensorRT 8.5 was built with; ONNX Runtime 1.19 refuses 11
PREFIX = "onnxcomp."
LABELS = "labels"
LOSS = "loss"


class Form(str, Enum):
    """Which of the forms of DESIGN a file is in."""

    INFERENCE = "inference"
    COMPRESSION = "compression"
    DEPLOYABLE = "deployable"


class Role(str, Enum):
    """What a constant tensor of the compression form is for."""

    TRAINABLE = "trainable"
    MASK = "mask"
    SCALE = "scale"
    STATISTIC = "statistic"
    TEACHER = "teacher"


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input: ``(value - mean) / std``.

    Attributes:
        mean: per channel (RGB order), in units of 0..255.
        std: per channel, in units of 0..255, all > 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass
class Model:
    """A network with its metadata.

    Attributes:
        graph: canonical onnx-graphsurgeon graph; passes edit it in place.
        form: inference, compression or deployable.
        preprocessing: None when the file does not say and no data set has been asked yet.
        classes: class names in the order of the logits; may be empty.
        recipe: text of the passes applied so far, ``""`` for none.
        roles: role of each constant tensor that training touches, by name.
        losses: weight of each loss term's scalar output in the total ``loss``, by output name.
        properties: the user's own metadata, kept.
    """

    graph: gs.Graph
    form: Form = Form.INFERENCE
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] = ()
    recipe: str = ""
    roles: dict[str, Role] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)

    @property
    def image(self) -> gs.Variable:
        """The image input, shape (N, C, H, W), float32."""
        return next(t for t in self.graph.inputs if t.name != LABELS)

    @property
    def logits(self) -> gs.Variable:
        """The output of shape (N, classes)."""
        return next(t for t in self.graph.outputs if t.name not in {LOSS, *self.losses})

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.image.shape
        return channels, height, width

    @property
    def batch(self) -> int | None:
        """The fixed batch size, or None where it is free."""
        size = self.image.shape[0]
        return size if isinstance(size, int) and size > 0 else None

    @property
    def num_classes(self) -> int:
        return int(self.logits.shape[1])

    def constants(self) -> dict[str, gs.Constant]:
        """Every constant tensor by name."""
        return {
            name: tensor
            for name, tensor in self.graph.tensors().items()
            if isinstance(tensor, gs.Constant)
        }

    def copy(self) -> Model:
        """An independent copy, but for the constants' values: replace those, never write into them."""
        return replace(
            self,
            graph=self.graph.copy(),
            roles=dict(self.roles),
            losses=dict(self.losses),
            properties=dict(self.properties),
        )


def load(path: Path | str) -> Model:
    """Read a network, check that onnxcomp can take it, and bring it into canonical shape.

    Raises:
        ModelError: the file is missing, damaged, not ONNX, or a network outside onnxcomp's ground.
    """
    path = Path(path)
    where = str(path)
    if not path.is_file():
        raise ModelError("there is no such file", where=where, fix="check the path")
    try:
        proto = onnx.load_model(path, load_external_data=False)
    except Exception as error:  # protobuf's DecodeError has no public base class
        raise ModelError(
            "not an ONNX file, or a truncated one", where=where, fix="export the model again"
        ) from error
    if not proto.graph.node or not proto.opset_import:
        raise ModelError(
            "not an ONNX file: it holds no graph", where=where, fix="export the model again"
        )
    _load_external_data(proto, path)
    return from_proto(proto, where=where)


def _load_external_data(proto: onnx.ModelProto, path: Path) -> None:
    folder = path.parent.resolve()
    for tensor in proto.graph.initializer:
        location = next((e.value for e in tensor.external_data if e.key == "location"), None)
        if location is None:
            continue
        target = (folder / location).resolve()
        if folder not in target.parents:
            raise ModelError(
                f"tensor {tensor.name} keeps its data outside the model's folder ({location})",
                where=str(path),
                fix="move the data file beside the model and save it again",
            )
        if not target.is_file():
            raise ModelError(
                f"the data file {location} of tensor {tensor.name} is missing",
                where=str(path),
                fix="copy it beside the model",
            )
    try:
        onnx.load_external_data_for_model(proto, str(folder))
    except Exception as error:  # onnx raises ValidationError, ValueError and OSError alike
        raise ModelError(
            "its external data cannot be read", where=str(path), fix="export the model again"
        ) from error


def from_proto(proto: onnx.ModelProto, *, where: str = "model", canonical: bool = False) -> Model:
    """Build a :class:`Model` from a ModelProto.

    Args:
        where: what error messages call the model.
        canonical: the proto comes from :func:`to_proto`, so checks and tidying are skipped.

    Raises:
        ModelError: as for :func:`load`.
    """
    if not canonical:
        _check_opset(proto, where)
        proto = _infer_shapes(proto, where)
    graph = gs.import_onnx(proto)
    model = Model(graph, **_read_metadata(proto, where))
    if not canonical:
        tidy(graph, where)
        _check_interface(model, where)
    return model


def _check_opset(proto: onnx.ModelProto, where: str) -> None:
    versions = {entry.domain or "ai.onnx": entry.version for entry in proto.opset_import}
    opset = versions.pop("ai.onnx", 0)
    if not MIN_OPSET <= opset <= MAX_OPSET:
        raise ModelError(
            f"opset {opset} is outside {MIN_OPSET} to {MAX_OPSET}",
            where=where,
            fix="export again with opset 17, or use onnx.version_converter",
        )
    for node in proto.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise ModelError(
                f"node {node.name or node.output[0]} is {node.domain}::{node.op_type},"
                " not a standard ONNX operator",
                where=where,
                fix="export without custom operators",
            )


def _infer_shapes(proto: onnx.ModelProto, where: str) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
    except Exception as error:  # onnx raises InferenceError, TypeError and RuntimeError
        reason = str(error).strip().splitlines()[-1]
        raise ModelError(f"not a valid network: {reason}", where=where, fix="export it again") from error


def _check_interface(model: Model, where: str) -> None:
    images = [t for t in model.graph.inputs if t.name != LABELS]
    if len(images) != 1:
        raise ModelError(
            f"has {len(images)} inputs ({', '.join(t.name for t in images)}); one image is expected",
            where=where,
            fix="export the classifier alone",
        )
    shape = images[0].shape
    if images[0].dtype != "float32" or shape is None or len(shape) != 4 or shape[1] not in (1, 3):
        raise ModelError(
            f"input {images[0].name} is {images[0].dtype} {shape}; float32 (N, 1 or 3, H, W) is expected",
            where=where,
            fix="export in float32 with channels first",
        )
    if not all(isinstance(size, int) and size > 0 for size in shape[2:]):
        raise ModelError(
            f"the height and width of input {images[0].name} are dynamic ({shape})",
            where=where,
            fix=(
                "fix them, for example: python -m onnxruntime.tools.make_dynamic_shape_fixed"
                f" --input_name {images[0].name} --input_shape 1,{shape[1]},224,224 in.onnx out.onnx"
            ),
        )
    outputs = [t for t in model.graph.outputs if t.name not in {LOSS, *model.losses}]
    if len(outputs) != 1:
        raise ModelError(
            f"has {len(outputs)} outputs ({', '.join(t.name for t in outputs)}); one of logits is expected",
            where=where,
            fix="export the classifier alone",
        )
    logits = outputs[0]
    if logits.shape is None or len(logits.shape) != 2 or not isinstance(logits.shape[1], int):
        raise ModelError(
            f"output {logits.name} has shape {logits.shape}; (N, classes) is expected",
            where=where,
            fix="export a classifier whose output is the logits",
        )


def _read_metadata(proto: onnx.ModelProto, where: str) -> dict[str, Any]:
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    own = {k.removeprefix(PREFIX): properties.pop(k) for k in list(properties) if k.startswith(PREFIX)}
    try:
        preprocessing = json.loads(own.get("preprocessing", "null"))
        return {
            "form": Form(own.get("form", "inference")),
            "preprocessing": preprocessing
            and Preprocessing(tuple(preprocessing["mean"]), tuple(preprocessing["std"])),
            "classes": tuple(json.loads(own.get("classes", "[]"))),
            "recipe": own.get("recipe", ""),
            "roles": {k: Role(v) for k, v in json.loads(own.get("roles", "{}")).items()},
            "losses": dict(json.loads(own.get("losses", "{}"))),
            "properties": properties,
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"its onnxcomp metadata is damaged ({error})", where=where, fix="apply the passes again"
        ) from error


def to_proto(model: Model) -> onnx.ModelProto:
    """Write the network and its metadata as an ONNX ModelProto, IR version 8."""
    proto = gs.export_onnx(model.graph, do_type_check=False)
    proto.ir_version = IR_VERSION
    proto.producer_name = "onnxcomp"
    preprocessing = model.preprocessing
    own: dict[str, Any] = {
        "form": model.form.value,
        "recipe": model.recipe,
        "preprocessing": preprocessing
        and json.dumps({"mean": preprocessing.mean, "std": preprocessing.std}),
        "classes": model.classes and json.dumps(model.classes),
        "roles": model.roles and json.dumps({k: v.value for k, v in model.roles.items()}),
        "losses": model.losses and json.dumps(model.losses),
    }
    properties = dict(model.properties)
    properties.update({PREFIX + key: value for key, value in own.items() if value})
    onnx.helper.set_model_props(proto, properties)
    return proto


def save(model: Model, path: Path | str) -> None:
    """Write the network to ``path`` in one step: all of it or nothing.

    Raises:
        OnnxcompError: ``path`` cannot be written.
    """
    data = to_proto(model).SerializeToString()
    files.write_atomically(Path(path), lambda temporary: _write(temporary, data))


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
