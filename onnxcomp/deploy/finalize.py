"""From the compression form to the file that is deployed.

In order: teacher, losses and labels go; masks are multiplied in; channels that nobody reads go;
weights become integers; each BatchNormalization is folded where legal; what of a kernel only meets
padding goes; Q/DQ takes the shape the target wants; the opset comes down to one the target parses, and
LayerNormalization is written out where its parser has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_graphsurgeon as gs

from onnxcomp import graphs, recipe
from onnxcomp.deploy import layer_norm, qdq
from onnxcomp.deploy.crop import Crops, crop_kernels
from onnxcomp.deploy.dla import Dla, dla_form
from onnxcomp.deploy.integer import Integer, Kernels, integer_form, kernels
from onnxcomp.deploy.opset import lower_opset
from onnxcomp.deploy.targets import Target
from onnxcomp.errors import ModelError
from onnxcomp.fold_bn import Folds, fold_bn
from onnxcomp.masks import multiply_masks
from onnxcomp.model import Form, Model
from onnxcomp.passes.channels.dead import cut_dead
from onnxcomp.passes.channels.masks import mask_pattern
from onnxcomp.student import student
from onnxcomp.verify import verify


@dataclass(frozen=True)
class Report:
    """What :func:`finalize_report` did.

    Attributes:
        target: the target's name.
        opset_before, opset_after: opset of the graph given and of the one returned.
        nodes_removed: nodes of teacher and losses.
        masks: masks multiplied in.
        masked: weights that are exactly 0 because of them.
        channels: removed, because only weights of 0 read them, or none; 0 where masks have a pattern
            over neighbouring channels, such as 2:4.
        quantized_weights: weights behind Q/DQ.
        quantized_activations: activations behind Q/DQ.
        folds: BatchNormalization nodes folded and kept.
        crops: kernels without what only met padding.
        integer: what was rewritten for integer kernels; None for targets that fuse Q/DQ themselves.
        kernels: which operators run in integers; None as above, or where nothing is quantized.
        notes: what the user should know besides, a sentence each.
        dla: what a DLA needs besides the file; None for other targets.
    """

    target: str
    opset_before: int
    opset_after: int
    nodes_removed: int
    masks: int
    masked: int
    channels: int
    quantized_weights: int
    quantized_activations: int
    folds: Folds
    crops: Crops
    integer: Integer | None
    kernels: Kernels | None
    notes: tuple[str, ...]
    dla: Dla | None

    def lines(self) -> list[str]:
        """Crops, integer kernels, what a DLA needs and notes in lines for the console."""
        crops, found = self.crops, []
        if crops.kernels:
            found.append(f"cropped {crops.kernels} kernels: {crops.weights:,} weights only met padding")
        if self.integer and self.integer.convolutions:
            found.append(f"{self.integer.convolutions} BatchNormalization are depthwise convolutions now")
        if self.kernels:
            found += self.kernels.lines()
        if self.integer:
            found += [f"  {name}: {reason}" for name, reason in self.integer.kept]
        if self.dla and self.dla.pairs:
            found += self.dla.lines()
        return [*found, *self.notes]


def finalize(model: Model, target: Target, *, fold: bool = True) -> Model:
    """The deployable form of ``model`` for ``target``; ``model`` itself is not changed.

    Args:
        model: inference or compression form.
        target: see :mod:`onnxcomp.deploy.targets`.
        fold: False leaves every BatchNormalization where it is, and what is between pairs.

    Raises:
        ModelError: already deployable, quantized in another way, or beyond the target's opset.
    """
    return finalize_report(model, target, fold=fold)[0]


def finalize_report(model: Model, target: Target, *, fold: bool = True) -> tuple[Model, Report]:
    """:func:`finalize`, and what it did."""
    if model.form is Form.DEPLOYABLE:
        raise ModelError("is deployable already", where="model", fix="finalize its compression form")
    result = student(model)
    graph = result.graph
    removed = len(model.graph.nodes) - len(graph.nodes)
    masks, masked = multiply_masks(graph)
    alignment = int(model.given.get("alignment", target.alignment))
    applied = recipe.parse(model.recipe).passes if model.recipe else ()
    # Following single channels takes long; without a channel whose weights are all 0 none is dead.
    channels = 0 if mask_pattern(applied) or not _has_empty_channels(graph) else cut_dead(result, alignment)
    qdq.check_pairs(graph, target)
    weights = qdq.store_integers(graph)
    activations = sum(not isinstance(pair.source, gs.Constant) for pair in graphs.quantizers(graph))
    folds = fold_bn(graph) if fold else Folds()
    crops = crop_kernels(graph)
    if target.weights == "float":
        qdq.store_floats(graph)
    integer, notes = _use_integers(graph, target, rewrite=fold)
    lower_opset(graph, target.max_opset)
    notes += _without_layer_norm(graph, target)
    graph.cleanup().toposort()
    dla = dla_form(graph, target) if target.dla else None
    result.form = Form.DEPLOYABLE
    result.properties = dict(model.properties)
    verify(result, where=f"finalize for {target.name}")
    report = Report(
        target=target.name,
        opset_before=model.graph.opset,
        opset_after=graph.opset,
        nodes_removed=removed,
        masks=masks,
        masked=masked,
        channels=channels,
        quantized_weights=weights,
        quantized_activations=activations,
        folds=folds,
        crops=crops,
        integer=integer,
        kernels=kernels(graph) if target.placement == "ort-cpu" and activations else None,
        notes=notes,
        dla=dla,
    )
    return result, report


def _use_integers(
    graph: gs.Graph, target: Target, *, rewrite: bool
) -> tuple[Integer | None, tuple[str, ...]]:
    """What the target's activations are to be; what was rewritten for integer kernels, and notes."""
    if target.activations != "uint8":
        return None, ()
    if qdq.use_uint8_activations(graph):
        note = (
            f"its Q/DQ stand where TensorRT wants them: apply qat with --target {target.name} is faster here"
        )
        return None, (note,)
    quantized = any(graphs.quantizers(graph))
    return (integer_form(graph) if rewrite and quantized else None), ()


def _without_layer_norm(graph: gs.Graph, target: Target) -> tuple[str, ...]:
    """Written out where the target's parser has none; a note."""
    if target.tensorrt is None or target.tensorrt >= layer_norm.PARSED_FROM:
        return ()
    count = layer_norm.write_out(graph)
    return (f"{count} LayerNormalization are written out: TensorRT parses it from 8.6 on",) if count else ()


def _has_empty_channels(graph: gs.Graph) -> bool:
    return any(map(_is_empty_somewhere, graphs.weights(graph)))


def _is_empty_somewhere(weight: graphs.Weight) -> bool:
    """Whether all weights are 0 along one position of an axis of channels."""
    values = weight.tensor.values
    if values.all():
        return False
    alive = values != 0
    axes = (0, 1) if weight.node.op in ("Conv", "ConvTranspose") else range(values.ndim)
    return not all(alive.any(tuple(o for o in range(values.ndim) if o != axis)).all() for axis in axes)
