"""The teacher in an inference session of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnxcomp import memory
from onnxcomp.model import IR_VERSION
from onnxcomp.training.lowering.parameters import Array, aligned
from onnxcomp.training.ort.session import bind, open_session


class TeacherSession:
    """From a batch of images to what is read of the teacher; opened when it first runs.

    Args:
        graph: of the teacher, with static shapes.
        images: float32 (batch, C, H, W), read at each :meth:`run`; must live as long as this.

    Attributes:
        hidden: what :meth:`run` writes, by tensor name.
    """

    def __init__(self, graph: gs.Graph, images: Array, threads: int) -> None:
        self.hidden: dict[str, NDArray[Any]] = {t.name: _array(t) for t in graph.outputs}
        self._images = {graph.inputs[0].name: images}
        self._threads = threads
        self._graph: gs.Graph | None = graph
        self._session: Any = None
        self._binding: Any = None

    def run(self) -> None:
        """Compute :attr:`hidden`."""
        if self._graph is not None:
            self._open(self._graph)
            self._graph = None
            memory.release()  # the weights are in the session now, in its own layout
        self._session.run_with_iobinding(self._binding)

    def _open(self, graph: gs.Graph) -> None:
        proto = gs.export_onnx(graph, do_type_check=False)
        proto.ir_version = IR_VERSION
        self._session = open_session(proto, self._threads)
        self._binding = bind(self._session, self._images, self.hidden)


def _array(tensor: gs.Tensor) -> NDArray[Any]:
    shape = tuple(tensor.shape)
    return aligned(shape) if tensor.dtype == np.float32 else np.zeros(shape, tensor.dtype)
