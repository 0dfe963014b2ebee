"""Inference sessions whose arrays are bound once, by address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
from numpy.typing import NDArray

from onnxcomp import extras


def open_session(proto: onnx.ModelProto, threads: int) -> Any:
    """An ``InferenceSession`` on the CPU that shares it with the data loader."""
    ort = extras.onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # Idle threads that spin take the processor from the data loader.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Q/DQ pairs are there to round, not to be fused into integer convolutions.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def bind(session: Any, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> Any:
    """A binding of the session's inputs and outputs to arrays, which must live as long as it is used."""
    binding = session.io_binding()
    for entry in session.get_inputs():
        array = inputs[entry.name]
        binding.bind_input(entry.name, "cpu", 0, array.dtype, entry.shape, array.ctypes.data)
    for entry in session.get_outputs():
        array = outputs[entry.name]
        binding.bind_output(entry.name, "cpu", 0, array.dtype, entry.shape, array.ctypes.data)
    return binding
