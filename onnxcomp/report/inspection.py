"""What a file holds: its form, its interface, its layers and its size."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from onnxcomp import model as models
from onnxcomp.report.layers import Layer, layers
from onnxcomp.report.size import FileSize, Parameters, count_parameters, file_size
from onnxcomp.student import student


@dataclass(frozen=True)
class Inspection:
    """A file and its network.

    Attributes:
        form: inference, compression or deployable.
        recipe: text of the passes applied, ``""`` for none.
        opset: of the standard operators.
        inputs: shape of each graph input by name; free dimensions carry a name or None.
        outputs: the same of each graph output.
        classes: number of classes.
        normalised: the file says how images become its input.
        parameters: of the student.
        macs: multiply-accumulates of the student for one image; None where a shape is unknown.
        file: bytes of the file.
        nodes: nodes of the student by operator, most frequent first.
        other_nodes: nodes of teacher and losses.
        losses: weight of each loss term.
        layers: weighted operators of the student.
    """

    form: str
    recipe: str
    opset: int
    inputs: dict[str, tuple[int | str | None, ...]]
    outputs: dict[str, tuple[int | str | None, ...]]
    classes: int
    normalised: bool
    parameters: Parameters
    macs: int | None
    file: FileSize
    nodes: dict[str, int]
    other_nodes: int
    losses: dict[str, float]
    layers: list[Layer]


def inspect(path: Path) -> Inspection:
    """Read and describe an ONNX file.

    Raises:
        ModelError: as :func:`onnxcomp.model.load`.
    """
    model = models.load(path)
    rows = layers(model)
    work = [layer.macs for layer in rows]
    nodes = Counter(node.op for node in student(model).graph.nodes)
    return Inspection(
        form=model.form.value,
        recipe=model.recipe,
        opset=int(model.graph.opset),
        inputs={tensor.name: _shape(tensor.shape) for tensor in model.graph.inputs},
        outputs={tensor.name: _shape(tensor.shape) for tensor in model.graph.outputs},
        classes=model.num_classes,
        normalised=model.preprocessing is not None,
        parameters=count_parameters(model),
        macs=None if None in work else sum(count for count in work if count is not None),
        file=file_size(path),
        nodes=dict(nodes.most_common()),
        other_nodes=len(model.graph.nodes) - nodes.total(),
        losses=dict(model.losses),
        layers=rows,
    )


def _shape(shape: list[int | str | None] | None) -> tuple[int | str | None, ...]:
    return tuple(shape) if shape is not None else ()


def summary_rows(found: Inspection) -> list[tuple[str, str]]:
    """The file as pairs of name and text, for a table."""
    rows = [
        ("form", found.form),
        ("recipe", found.recipe or "none"),
        ("opset", str(found.opset)),
        *((f"input {name}", dimensions(shape)) for name, shape in found.inputs.items()),
        ("classes", str(found.classes)),
        ("normalisation", "in the file" if found.normalised else "not in the file"),
        ("parameters", f"{found.parameters.total:,}"),
        ("non-zero", share(found.parameters.nonzero, found.parameters.total)),
    ]
    if found.parameters.nonzero_int8 != found.parameters.nonzero:
        rows.append(("non-zero in INT8", share(found.parameters.nonzero_int8, found.parameters.total)))
    rows += [
        ("MACs per image", "unknown" if found.macs is None else f"{found.macs:,}"),
        ("file size", byte_text(found.file.raw)),
        ("deflated", byte_text(found.file.deflated)),
        ("nodes", ", ".join(f"{count} {op}" for op, count in found.nodes.items())),
    ]
    if found.other_nodes:
        rows.append(("teacher and loss nodes", str(found.other_nodes)))
    rows += [(name, f"weight {weight:g}") for name, weight in found.losses.items()]
    return rows


def layer_rows(found: Inspection) -> list[tuple[str, ...]]:
    """One row of texts for each layer, under :data:`LAYER_COLUMNS`."""
    return [
        (
            layer.name,
            layer.op,
            dimensions(layer.weight),
            dimensions(layer.output),
            f"{layer.parameters:,}",
            "-" if layer.macs is None else f"{layer.macs:,}",
            f"{layer.sparsity:.1f} %",
            layer.precision,
        )
        for layer in found.layers
    ]


LAYER_COLUMNS = ("layer", "op", "weight", "output", "parameters", "MACs", "sparsity", "precision")
# What a narrow terminal leaves out, first named first.
OPTIONAL_LAYER_COLUMNS = ("output", "op", "parameters", "weight")


def dimensions(shape: tuple[int | str | None, ...]) -> str:
    """A shape as text: ``64x3x3x3``; a free dimension without a name is ``?``."""
    return "x".join("?" if size is None else str(size) for size in shape) or "?"


def share(part: int, whole: int) -> str:
    """``1,234 (56.7 %)``."""
    return f"{part:,} ({100 * part / max(whole, 1):.1f} %)"


def byte_text(size: int) -> str:
    """Bytes as decimal kilobytes or megabytes."""
    return f"{size / 1e3:.1f} kB" if size < 1e6 else f"{size / 1e6:.2f} MB"
