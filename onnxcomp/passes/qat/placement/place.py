"""The placement for a target's runtime, by name."""

from __future__ import annotations

from collections.abc import Callable

import onnx_graphsurgeon as gs

from onnxcomp.passes.base import Placement as Name
from onnxcomp.passes.qat.placement import ort_cpu, tensorrt
from onnxcomp.passes.qat.placement.sites import Placement
from onnxcomp.passes.qat.placement.switches import Switches

PLACEMENTS: dict[Name, Callable[[gs.Graph, Switches], Placement]] = {
    "tensorrt": tensorrt.place,
    "ort-cpu": ort_cpu.place,
}


def place(graph: gs.Graph, name: Name, switches: Switches) -> Placement:
    """Decide where Q/DQ is to stand; the graph is not changed.

    Args:
        graph: of the student, sorted, without Q/DQ; masks may stand before weights.
        name: of the placement.
    """
    return PLACEMENTS[name](graph, switches)
