"""What a file holds: its form, its interface, its layers, its size and what its zeros bring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxcomp import model as models
from onnxcomp.deploy.targets import KINDS, Target
from onnxcomp.model import Model
from onnxcomp.report.accounting import Accounting, account, total
from onnxcomp.report.layers import Layer, layers
from onnxcomp.report.size import Parameters, count_parameters, file_size, stored_bytes
from onnxcomp.student import student


@dataclass(frozen=True)
class Stored:
    """Bytes of the file and its external data.

    Attributes:
        raw: as they are.
        deflated: through zlib, see :class:`onnxcomp.report.size.FileSize`; None where nobody asked, because
            it takes far longer than all the rest.
    """

    raw: int
    deflated: int | None


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
        accounting: zeros and cut channels, and what they bring on each target asked about.
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
    file: Stored
    nodes: dict[str, int]
    other_nodes: int
    losses: dict[str, float]
    accounting: Accounting
    layers: list[Layer]


def inspect(path: Path, targets: Sequence[Target] = KINDS, *, deflate: bool = False) -> Inspection:
    """Read and describe an ONNX file.

    Args:
        targets: to account for.
        deflate: find out how small the file gets, too.

    Raises:
        ModelError: as :func:`onnxcomp.model.load`.
    """
    return describe(models.load(path), stored(path, deflate=deflate), targets)


def stored(path: Path, *, deflate: bool = False) -> Stored:
    """Measure an ONNX file."""
    if not deflate:
        return Stored(stored_bytes(path), None)
    size = file_size(path)
    return Stored(size.raw, size.deflated)


def describe(model: Model, file: Stored, targets: Sequence[Target] = KINDS) -> Inspection:
    """Describe a network that was read from a file."""
    rows = layers(model)
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
        macs=total(layer.macs for layer in rows),
        file=file,
        nodes=dict(nodes.most_common()),
        other_nodes=len(model.graph.nodes) - nodes.total(),
        losses=dict(model.losses),
        accounting=account(rows, model.given, targets),
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
        ("deflated", ASK if found.file.deflated is None else byte_text(found.file.deflated)),
        ("nodes", ", ".join(f"{count} {op}" for op, count in found.nodes.items())),
    ]
    if found.other_nodes:
        rows.append(("teacher and loss nodes", str(found.other_nodes)))
    rows += [(name, f"weight {weight:g}") for name, weight in found.losses.items()]
    return rows


def layer_table(
    found: Inspection, target: Target | None = None
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and one row of texts for each layer.

    Args:
        target: whose alignment is a column of its own.
    """
    columns, rows = LAYER_COLUMNS, [_layer_row(layer) for layer in found.layers]
    if found.accounting.dead_outputs:
        columns = (*columns, "dead outputs")
        rows = [(*row, f"{layer.dead_outputs:,}") for row, layer in zip(rows, found.layers, strict=True)]
    if target is not None:
        columns = (*columns, "aligned")
        widths = (_alignment(layer, target.alignment) for layer in found.layers)
        rows = [(*row, text) for row, text in zip(rows, widths, strict=True)]
    return columns, rows


def _layer_row(layer: Layer) -> tuple[str, ...]:
    return (
        layer.name,
        layer.op,
        dimensions(layer.weight),
        dimensions(layer.output),
        f"{layer.parameters:,}",
        "-" if layer.macs is None else f"{layer.macs:,}",
        f"{layer.zeros:,}",
        f"{layer.sparsity:.1f} %",
        layer.pattern,
        layer.precision,
    )


def _alignment(layer: Layer, multiple: int) -> str:
    """``yes``, or the numbers of channels that are no multiple."""
    widths = ((layer.inputs, "in"), (layer.outputs, "out"))
    return ", ".join(f"{width} {side}" for width, side in widths if width % multiple) or "yes"


LAYER_COLUMNS: tuple[str, ...] = (
    *("layer", "op", "weight", "output", "parameters", "MACs"),
    *("zeros", "sparsity", "pattern", "precision"),
)
# What a narrow terminal leaves out, first named first.
OPTIONAL_LAYER_COLUMNS = ("output", "op", "parameters", "weight", "precision", "zeros", "dead outputs")


ASK = "not measured; --deflated does, and takes longer"


def dimensions(shape: tuple[int | str | None, ...]) -> str:
    """A shape as text: ``64x3x3x3``; a free dimension without a name is ``?``."""
    return "x".join("?" if size is None else str(size) for size in shape) or "?"


def share(part: int, whole: int) -> str:
    """``1,234 (56.7 %)``."""
    return f"{part:,} ({100 * part / max(whole, 1):.1f} %)"


def byte_text(size: int) -> str:
    """Bytes as decimal kilobytes or megabytes."""
    return f"{size / 1e3:.1f} kB" if size < 1e6 else f"{size / 1e6:.2f} MB"
