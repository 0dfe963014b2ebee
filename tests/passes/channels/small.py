"""Networks small enough that their channels are known by hand, and what a cut is measured against."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.model import Model, from_proto, to_proto
from onnxcomp.passes.channels import Dependencies, cut, find
from onnxcomp.passes.channels.selection import Selection, Wanted
from tests import run
from tests.builder import Builder, head

CLASSES = 5
TOLERANCE = 1e-5
"""Of logits, relative to the largest: float32 sums in another order."""
Write = Callable[[Builder, str], str]


def ending(write: Write, *, size: int = 6, opset: int = 17, batch: str | int = "N", seed: int = 0) -> Model:
    """The network whose logits (N, 5) ``write`` makes of ``input`` (N, 3, size, size)."""
    net = Builder(seed)
    return from_proto(net.model(write(net, "input"), opset, (batch, 3, size, size), CLASSES))


def classifier(write: Write, width: int, *, opset: int = 17, batch: str | int = "N", size: int = 6) -> Model:
    """The same for what has shape (N, width, H, W): it is pooled and classified with ``fc.weight``."""

    def whole(net: Builder, x: str) -> str:
        return head(net, write(net, x), "fc", width, CLASSES)

    return ending(whole, size=size, opset=opset, batch=batch)


def gemm(net: Builder, x: str, name: str, inputs: int, outputs: int) -> str:
    """``x W^T + b``; the node has the name ``name``."""
    weight, bias = (
        net.constant(f"{name}.weight", net.he(outputs, inputs)),
        net.constant(f"{name}.bias", net.small(outputs)),
    )
    return net.node("Gemm", [x, weight, bias], f"{name}.out", name, transB=1)


def integers(net: Builder, name: str, *values: int) -> str:
    return net.constant(name, np.array(values, np.int64))


def summary(model: Model) -> dict[tuple[str, ...], int]:
    """How many channels of each group can go, by its members."""
    return {group.members: len(group.ids) for group in find(model.graph).groups}


def reasons(model: Model) -> dict[str, str]:
    """Why channels are kept, by the first member of the group; groups that are free are left out."""
    return {group.name: group.reason for group in find(model.graph).groups if group.reason}


def numbers(dependencies: Dependencies, name: str, axis: int) -> list[int]:
    """The channel of each position along an axis of a constant."""
    return dependencies.constants[name][axis].tolist()


def zeroed(model: Model, dependencies: Dependencies, gone: Collection[int]) -> Model:
    """A copy with every slice of a weight that makes or reads one of ``gone`` set to 0."""
    result = model.copy()
    keep = dependencies.kept(gone)
    for weight in graphs.weights(result.graph):
        values = weight.tensor.values.copy()
        for axis, channels in dependencies.constants.get(weight.name, {}).items():
            np.moveaxis(values, axis, 0)[~keep[channels]] = 0
        weight.tensor.values = values
    return result


def half(model: Model, seed: int = 0, *, share: float = 0.5, alignment: int = 1) -> list[int]:
    """Numbers of about ``share`` of the channels that can go, drawn."""
    dependencies = find(model.graph)
    chosen = [group for group in dependencies.groups if group.ids.size]
    wanted = Wanted(None, share, "global", relative=False, alignment=alignment)
    draw = np.random.default_rng(seed).random(dependencies.size)
    gone = Selection(model.graph, dependencies, chosen, wanted).choose(draw)
    assert gone is not None
    return [int(number) for number in gone]


def after(model: Model, gone: Collection[int]) -> Model:
    """A copy without ``gone``, which must be sound and answer as the zeroed network does."""
    dependencies = find(model.graph)
    result = model.copy()
    cut(result, dependencies, gone)
    check(result)
    images = run.images(model, 3)
    expected = run.logits(zeroed(model, dependencies, gone), images)
    found = run.logits(result, images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())
    return result


def check(model: Model) -> None:
    """The checker passes, nothing dangles, and every tensor has the shape that it says."""
    proto = to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    used = {name for node in proto.graph.node for name in node.input}
    assert {tensor.name for tensor in proto.graph.initializer} <= used
    written = {name for node in proto.graph.node for name in node.output}
    assert used <= written | {t.name for t in (*proto.graph.input, *proto.graph.initializer)} | {""}
    assert {info.name for info in proto.graph.value_info} <= written
    full = model.copy()
    inner = [t for n in full.graph.nodes for t in n.outputs if t.shape is not None and t.dtype == np.float32]
    full.graph.outputs = [*full.graph.outputs, *(t for t in inner if t not in full.graph.outputs)]
    values = run.outputs(full, run.images(model, 2))
    for tensor in inner:
        sizes = zip(tensor.shape, values[tensor.name].shape, strict=True)
        assert all(said == real for said, real in sizes if isinstance(said, int)), tensor.name


def node(model: Model, op: str) -> gs.Node:
    """The only node of a type."""
    (found,) = (node for node in model.graph.nodes if node.op == op)
    return found


def ops(model: Model) -> list[str]:
    return [node.op for node in model.graph.nodes]
