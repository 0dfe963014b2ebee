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

from onnxcomp import files, graphs, intake, metadata
from onnxcomp.errors import ModelError
from onnxcomp.origin import SAYS, origin
from onnxcomp.skeleton import fill
from onnxcomp.tidy import tidy

IR_VERSION = 8  # the newest that TensorRT 8.5 was built with; ONNX Runtime 1.19 refuses 11
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
    LEARNED_SCALE = "learned-scale"
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
        sparsities: share of each weight that is zero at the end of pruning, by name, where the
            recipe and the shapes alone do not say (an allocation by measured sensitivity).
        given: where channels were cut, ``macs`` for one image and ``parameters`` of the network before,
            and the ``alignment`` of its widths.
        properties: the user's own metadata, kept.
    """

    graph: gs.Graph
    form: Form = Form.INFERENCE
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] = ()
    recipe: str = ""
    roles: dict[str, Role] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    sparsities: dict[str, float] = field(default_factory=dict)
    given: dict[str, float] = field(default_factory=dict)
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
            name: tensor for name, tensor in self.graph.tensors().items() if isinstance(tensor, gs.Constant)
        }

    def copy(self) -> Model:
        """An independent copy, but for the constants' values: replace those, never write into them."""
        return replace(
            self,
            graph=self.graph.copy(),
            roles=dict(self.roles),
            losses=dict(self.losses),
            sparsities=dict(self.sparsities),
            given=dict(self.given),
            properties=dict(self.properties),
        )


def load(path: Path | str) -> Model:
    """Read a network, check that onnxcomp can take it, and bring it into canonical shape.

    Raises:
        ModelError: the file is missing, damaged, not ONNX, or a network outside onnxcomp's ground.
    """
    path = Path(path)
    return from_proto(intake.read(path), where=str(path))


def from_proto(proto: onnx.ModelProto, *, where: str = "model") -> Model:
    """Build a :class:`Model` from a ModelProto, which is left as it is.

    Args:
        where: what error messages call the model.

    Raises:
        ModelError: as for :func:`load`.
    """
    intake.check_opset(proto, where)
    skeleton, arrays = intake.infer_shapes(proto, where)
    model = Model(gs.import_onnx(skeleton), **_read_metadata(proto, where))
    fill(model.graph, arrays)
    tidy(model.graph, where)
    _let_go(model.graph)
    if model.form is Form.INFERENCE:
        _check_own_names(model.graph, where)
        _release_names(model.graph)
    intake.check_image([t for t in model.graph.inputs if t.name != LABELS], where)
    intake.check_logits([t for t in model.graph.outputs if t.name not in {LOSS, *model.losses}], where)
    _check_metadata(model, where)
    return model


def _let_go(graph: gs.Graph) -> None:
    """Keep no part of the ModelProto: the smallest one keeps all of it, weights too, in memory."""
    graph.import_domains = [onnx.helper.make_opsetid(d.domain, d.version) for d in graph.import_domains or ()]
    for tensor in graph.tensors().values():
        if isinstance(tensor, gs.Constant):
            _ = tensor.values  # read now: until then it points into the ModelProto


def _check_own_names(graph: gs.Graph, where: str) -> None:
    for tensor in (*graph.inputs, *graph.outputs):
        if tensor.name in (LABELS, LOSS):
            raise ModelError(
                f"has an input or output called {tensor.name}, as the compression form has",
                where=where,
                fix="rename it",
            )


def _release_names(graph: gs.Graph) -> None:
    """Rename the user's nodes that are called as the passes call theirs."""
    for node in graph.nodes:
        if node.name.startswith(graphs.RESERVED):
            node.name = f"model/{node.name}"


def _read_metadata(proto: onnx.ModelProto, where: str) -> dict[str, Any]:
    own, properties = metadata.split({entry.key: entry.value for entry in proto.metadata_props})
    try:
        return {
            "form": Form(own.get("form", "inference")),
            "preprocessing": _read_preprocessing(own["preprocessing"]) if "preprocessing" in own else None,
            "classes": metadata.strings(own.get("classes", "[]")),
            "recipe": own.get("recipe", ""),
            "roles": {name: Role(role) for name, role in metadata.table(own.get("roles", "{}")).items()},
            "losses": metadata.weights(own.get("losses", "{}")),
            "sparsities": metadata.weights(own.get("sparsities", "{}")),
            "given": metadata.weights(own.get("given", "{}")),
            "properties": properties,
        }
    except ValueError as error:
        raise _damaged(str(error), where) from error


def _read_preprocessing(text: str) -> Preprocessing:
    value = metadata.table(text)
    mean, std = metadata.numbers(value.get("mean")), metadata.numbers(value.get("std"))
    if len(mean) != len(std) or min(std) <= 0:
        raise ValueError("preprocessing needs as many deviations as means, all positive")
    return Preprocessing(mean, std)


def _check_metadata(model: Model, where: str) -> None:
    preprocessing = model.preprocessing
    channels = model.image_shape[0]
    if preprocessing is not None and len(preprocessing.mean) != channels:
        raise _damaged(f"{len(preprocessing.mean)} means for {channels} channels", where)
    if model.classes and len(model.classes) != model.num_classes:
        raise _damaged(f"{len(model.classes)} class names for {model.num_classes} logits", where)


def _damaged(reason: str, where: str) -> ModelError:
    return ModelError(
        f"its onnxcomp metadata is damaged ({reason})",
        where=where,
        fix="start again from the model before onnxcomp",
    )


def to_proto(model: Model) -> onnx.ModelProto:
    """Write the network and its metadata as an ONNX ModelProto, IR version 8."""
    proto: onnx.ModelProto = gs.export_onnx(model.graph, do_type_check=False)
    proto.ir_version = IR_VERSION
    proto.producer_name = "onnxcomp"
    preprocessing = model.preprocessing
    own: dict[str, Any] = {
        "form": model.form.value,
        "recipe": model.recipe,
        "preprocessing": preprocessing and json.dumps({"mean": preprocessing.mean, "std": preprocessing.std}),
        "classes": model.classes and json.dumps(model.classes),
        "roles": model.roles and json.dumps({k: v.value for k, v in model.roles.items()}),
        "losses": model.losses and json.dumps(model.losses),
        "sparsities": model.sparsities and json.dumps(model.sparsities),
        "given": model.given and json.dumps(model.given),
    }
    properties = dict(model.properties)
    properties.update({metadata.PREFIX + key: value for key, value in own.items() if value})
    onnx.helper.set_model_props(proto, properties)
    return proto


def save(model: Model, path: Path | str) -> None:
    """Write the network to ``path`` in one step: all of it or nothing.

    In a compression form each node that a pass added says so, for those who look at it with a viewer.

    Raises:
        OnnxcompError: ``path`` cannot be written.
    """
    proto = to_proto(model)
    if model.form is Form.COMPRESSION:
        _say_origins(proto)
    data = proto.SerializeToString()
    files.write_atomically(Path(path), lambda temporary: _write(temporary, data))


def _say_origins(proto: onnx.ModelProto) -> None:
    for node in proto.graph.node:
        source = origin(node.name, node.op_type)
        if source is not None:
            node.doc_string = f"{SAYS}{source}"


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
