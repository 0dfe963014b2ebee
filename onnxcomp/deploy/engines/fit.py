"""Whether a target, a file and a TensorRT go together, asked before anything is built."""

from __future__ import annotations

from pathlib import Path

from onnxcomp.deploy.engines.runtime import Runtime
from onnxcomp.deploy.lint.linter import lint
from onnxcomp.deploy.targets import Target, get_target
from onnxcomp.errors import OnnxcompError


def tensorrt_target(name: str) -> Target:
    """The target that ``--target`` names.

    Raises:
        OnnxcompError: there is none of that name, or it has no TensorRT.
    """
    target = get_target(name)
    if target.tensorrt is None:
        raise OnnxcompError(
            f"{name} has no TensorRT", where="--target", fix="onnxcomp targets lists those that do"
        )
    return target


def check_file(path: Path, target: Target, *, unchecked: str = "") -> None:
    """What lint knows to fail is not tried.

    Args:
        unchecked: how to go on without this check.

    Raises:
        OnnxcompError: there are errors.
    """
    report = lint(path, target, run=False)
    if report.errors:
        first = next(one for one in report.findings if one.severity == "error")
        more = f" and {report.errors - 1} more" if report.errors > 1 else ""
        raise OnnxcompError(
            f"{first.node or 'the file'}: {first.what}{more}",
            where=str(path),
            fix=f"see onnxcomp lint --target {target.name}{unchecked}",
        )


def check_version(runtime: Runtime, target: Target) -> None:
    """Raises:
    OnnxcompError: the file is for a newer TensorRT than there is.
    """
    assert target.tensorrt is not None
    if tuple(runtime.version[:2]) < target.tensorrt[:2]:
        wanted = ".".join(map(str, target.tensorrt[:2]))
        raise OnnxcompError(
            f"has TensorRT {runtime.version}, and {target.name} is for {wanted} or later",
            where=runtime.machine.name,
            fix="finalize for a target of that version",
        )
