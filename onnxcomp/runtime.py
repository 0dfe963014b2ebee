"""ONNX Runtime sessions with every setting that changes speed or results written out."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from onnxcomp import extras, providers
from onnxcomp.errors import ModelError
from onnxcomp.launcher import launch
from onnxcomp.model import Model, load, to_proto
from onnxcomp.providers import Provider
from onnxcomp.student import student, subgraph

TOPOLOGY = Path("/sys/devices/system/cpu")
EXACT = "session.x64quantprecision", "1"
"""Session option without which x86 CPUs that lack VNNI add products of uint8 * int8 in 16 bits, which
saturates: networks answer worse there than the file says. Where nothing saturates it changes nothing.
Source: onnxruntime_session_options_config_keys.h, ``kOrtSessionOptionsAvx2PrecisionMode``."""


def default_threads() -> int:
    """The number of physical cores that this process may run on, at least 1.

    Two hyper-threads of one core share its vector units, so they count once. Under MPI, the ranks of
    this machine share the cores that their launcher may use; where it bound this one to fewer, those.
    """
    ranks = launch().local_size
    if not hasattr(os, "sched_getaffinity"):
        return max(1, (os.cpu_count() or 1) // ranks)
    mine = _cores(0)
    return max(1, min(mine, _cores(os.getppid()) // ranks if ranks > 1 else mine))


def _cores(process: int) -> int:
    """Physical cores that ``process`` may run on; 0 stands for this one."""
    return len({_core(cpu) for cpu in os.sched_getaffinity(process)})


def _core(cpu: int) -> str:
    """The hyper-threads that share a core with ``cpu``, as the kernel writes them (``0,4``)."""
    siblings = TOPOLOGY / f"cpu{cpu}" / "topology" / "thread_siblings_list"
    try:
        return siblings.read_text().strip()
    except OSError:
        return str(cpu)


def session(
    model: Model | Path,
    *,
    outputs: Sequence[str] | None = None,
    threads: int,
    optimize: bool = True,
    integer: bool = True,
    provider: Provider = "cpu",
) -> Any:
    """An ``onnxruntime.InferenceSession``.

    Args:
        model: any form; without ``outputs`` only what gives the logits runs (no labels, no teacher).
        outputs: names of the tensors to compute instead, also from inside the graph.
        threads: threads of one operator; they sleep between runs instead of spinning.
        optimize: let ONNX Runtime fuse and rewrite the graph.
        integer: let it compute in integers where Q/DQ pairs allow it; otherwise they only round.
        provider: that runs all of it.

    Raises:
        ModelError: ONNX Runtime cannot load the network; carries its reason.
        MissingPackageError: ONNX Runtime is not installed, or without the provider.
        OnnxcompError: the provider cannot be started.
    """
    where = "model"
    if isinstance(model, Path):
        where, model = str(model), load(model)
    cut = student(model) if outputs is None else subgraph(model, outputs)
    data = to_proto(cut).SerializeToString()
    return session_of_proto(
        data, threads=threads, optimize=optimize, integer=integer, provider=provider, where=where
    )


def session_of_proto(
    data: bytes,
    *,
    threads: int,
    optimize: bool = True,
    integer: bool = True,
    provider: Provider = "cpu",
    where: str = "model",
) -> Any:
    """The same from a serialised ModelProto, as it is.

    Args:
        where: what error messages call the network.

    Raises:
        ModelError: ONNX Runtime cannot load the network; carries its reason.
        MissingPackageError: ONNX Runtime is not installed.
    """
    runtime = extras.onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if not integer:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.add_session_config_entry(*EXACT)
    options.log_severity_level = 4
    levels = runtime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    chosen = providers.configure(options, provider, data)
    try:
        with redirect_stdout(io.StringIO()):  # where it tells that it falls back
            session = runtime.InferenceSession(data, options, providers=chosen)
    except Exception as error:  # ONNX Runtime's exceptions have no public base class
        if provider != "cpu":
            raise providers.unable(provider, _reason(error)) from error
        raise ModelError(
            f"ONNX Runtime cannot load it: {_reason(error)}", where=where, fix="export the model again"
        ) from error
    providers.check(session, provider)
    return session


def _reason(error: Exception) -> str:
    """ONNX Runtime's message without its code and source-file prefixes, in one line."""
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    return re.sub(r"^(Load model from \S* failed:|Exception during initialization:)\s*", "", text)
