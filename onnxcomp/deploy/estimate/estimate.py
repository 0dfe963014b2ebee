"""The layers that TensorRT would build of a deployable file, the type of each and its time: an estimate.

No figure here was measured. It says which layers matter and what would change most; see
:class:`.roofline.Assumptions` for what is taken to be so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.deploy.dla.files import read_calibration
from onnxcomp.deploy.engines.source import read as read_source
from onnxcomp.deploy.estimate.fusing import fuse
from onnxcomp.deploy.estimate.precision import Types
from onnxcomp.deploy.estimate.roofline import Assumptions, Roof
from onnxcomp.deploy.estimate.work import Sizes, Work, works
from onnxcomp.deploy.lint.network import Network, read
from onnxcomp.deploy.targets import Target
from onnxcomp.errors import ModelError
from onnxcomp.shapes import shapes

TYPED = (11, 0, 0)
UNFINISHED = (graphs.TEACHER_PREFIX, graphs.LOSS_PREFIX, graphs.PRUNE_PREFIX)
"""Beginnings of names of nodes that finalize takes away."""
MORE = 16
"""Times the batch that advice looks at, where it is smaller than that."""


@dataclass(frozen=True)
class EstimatedLayer:
    """One layer.

    Attributes:
        work: what it has to do.
        us: microseconds, an estimate.
        share: of the network's.
        bound: arithmetic, memory or launch.
        sparse: runs with a kernel for 2:4 weights.
    """

    work: Work
    us: float
    share: float
    bound: str
    sparse: bool


@dataclass(frozen=True)
class Estimate:
    """A network on a target.

    Attributes:
        target: its name.
        device: what it is called.
        batch: images at once.
        layers: in the order in which they run.
        us: microseconds of a run, an estimate.
        int8: share of the time in INT8.
        reformats: number of changes of type, and their microseconds.
        changes: what would change it most: text and the microseconds that would then remain.
        assumptions: about kernels.
    """

    target: str
    device: str
    batch: int
    layers: tuple[EstimatedLayer, ...]
    us: float
    int8: float
    reformats: tuple[int, float]
    changes: tuple[tuple[str, float], ...]
    assumptions: Assumptions


def estimate(
    path: Path, target: Target, *, batch: int = 1, fp16: bool = True, sparse: bool = True
) -> Estimate:
    """What ``target`` would make of the ONNX file ``path``, and how long a run would take.

    Args:
        batch: images at once, where the file leaves it free.
        fp16: let layers that are not INT8 run in FP16; TensorRT 11 decides by the types in the file.
        sparse: let layers with 2:4 weights use sparse kernels.

    Raises:
        ModelError: it is not an ONNX file, not finalized, or a shape is not known.
        OnnxcompError: the target's figures are not known.
    """
    from onnxcomp.deploy.estimate.advice import changes

    roof = Roof.of(target)
    found = work_of(path, target, batch=batch, fp16=fp16)
    times = [roof.microseconds(each, sparse=sparse) for each in found]
    total = sum(times)
    if not total:
        raise ModelError("computes nothing that takes time", where=str(path), fix="estimate a network")
    layers = tuple(
        EstimatedLayer(each, us, us / total, roof.bound(each, sparse=sparse), sparse and roof.is_sparse(each))
        for each, us in zip(found, times, strict=True)
    )
    borders = [layer.us for layer in layers if layer.work.kind == "reformat"]
    free = any(shape[:1] == (None,) for shape in read_source(path).inputs.values())
    other = work_of(path, target, batch=MORE * batch, fp16=fp16) if free and batch < MORE else []
    return Estimate(
        target=target.name,
        device=target.device,
        batch=batch,
        layers=layers,
        us=total,
        int8=sum(each.share for each in layers if _is_int8(each.work)),
        reformats=(len(borders), sum(borders)),
        changes=changes(roof, found, other, sparse=sparse),
        assumptions=roof.assumptions,
    )


def _is_int8(work: Work) -> bool:
    return work.precision == "INT8" and work.kind != "reformat"


def work_of(path: Path, target: Target, *, batch: int, fp16: bool = True) -> list[Work]:
    """What each layer has to do, in order.

    Raises:
        ModelError: as :func:`estimate`.
    """
    source, network = read_source(path, dla=target.dla), read(path)
    if any(node.name.startswith(UNFINISHED) for node in network.graph.nodes):
        raise ModelError("is not deployable yet", where=str(path), fix="run onnxcomp finalize on it first")
    typed = target.tensorrt is None or target.tensorrt >= TYPED
    # A DLA takes no Q/DQ: without a calibration cache nothing is INT8 there.
    scales = read_calibration(source.calibration) if source.calibration is not None else {}
    types = Types(
        network,
        "FP16" if fp16 and not typed else "FP32",
        scales if target.dla else None,
        frozenset(entry.rpartition(":")[0] for entry in source.precisions.split(",") if entry),
    )
    source.shapes(batch)
    size = _sizes(network, batch)
    return [work for fused in fuse(network) for work in works(fused, types, size)]


def _sizes(network: Network, batch: int) -> Sizes:
    """Shapes with the batch put in.

    Raises:
        ModelError: from what it gives, where another size is free.
    """
    path, known = str(network.path), shapes(network.graph)

    def size(tensor: gs.Tensor) -> tuple[int, ...]:
        one = known.sizes.get(tensor.name)
        if one is None:
            fix = "finalize it with onnxcomp"
            raise ModelError(f"the shape of {tensor.name} is not known", where=path, fix=fix)
        follows = (each is None for each in known.fixed.get(tensor.name, one))
        pairs = zip(one, follows, strict=True)
        fixed = tuple(each * batch if grows else each for each, grows in pairs if each is not None)
        if len(fixed) != len(one):
            fix = "export it with fixed sizes"
            raise ModelError(f"the shape of {tensor.name} is not fixed", where=path, fix=fix)
        if 0 in fixed:
            fix = "give every axis a size of 1 or more"
            raise ModelError(f"{tensor.name} is empty, its shape is {fixed}", where=path, fix=fix)
        return fixed

    return size
