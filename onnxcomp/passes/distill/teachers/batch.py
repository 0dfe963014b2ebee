"""A teacher exported at a fixed batch, run at any."""

from __future__ import annotations

import math
from collections.abc import Sequence

from onnxcomp.errors import ModelError
from onnxcomp.model import Model
from onnxcomp.passes.distill.teachers.freeing import Freeing
from onnxcomp.passes.distill.teachers.sizes import Size, forget, infer

_PROBES = (5, 7)  # batches at which shapes are worked out; one of them is not the file's


def free_batch(model: Model, *, allowed: int | None, where: str) -> bool:
    """Let a network of a fixed batch take any, in place; returns whether it does so now.

    Args:
        allowed: the fixed batch of the student; a teacher that only runs at that one stays as it is.

    Raises:
        ModelError: the batch is in the network in a way that cannot be freed; names a node where it can.
    """
    old, freed = model.batch, model.copy()
    if old is not None:
        Freeing(freed, old).run()
    obstacle = _obstacle(freed, next(size for size in _PROBES if size != old))
    if not obstacle:
        model.graph = freed.graph
        return old is not None
    if old is not None and old == allowed:
        return False
    raise ModelError(
        f"runs only at a batch of {old}: {obstacle}" if old else f"does not run at any batch: {obstacle}",
        where=where,
        fix="export it with a free batch (dynamic axes)",
    )


def _obstacle(model: Model, batch: int) -> str:
    """What is wrong with the shapes at ``batch``, or ``""``."""
    probe = model.copy()
    forget(probe.graph)
    try:
        known = infer(probe, batch)
    except Exception as error:  # noqa: BLE001  what onnx raises depends on the operator; it is the obstacle
        return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
    for node in probe.graph.nodes:
        if node.op == "Reshape":
            before, after = (known.get(tensor.name) for tensor in (node.inputs[0], node.outputs[0]))
            counts = _count(before), _count(after)
            if counts[0] != counts[1] and None not in counts:
                return f"node {node.name} makes {after} of {before} at a batch of {batch}"
    logits = known.get(probe.logits.name)
    if logits and isinstance(logits[0], int) and logits[0] != batch:
        return f"it gives {logits[0]} answers at a batch of {batch}"
    return ""


def _count(shape: Sequence[Size] | None) -> int | None:
    sizes = [size for size in shape or () if isinstance(size, int)]
    return math.prod(sizes) if shape is not None and len(sizes) == len(shape) else None
