"""Polygraphy's ``check lint``: does ONNX Runtime load and run the file, and which node does it refuse.

Polygraphy runs ``onnx.checker`` and the network on random input, and where that fails each node alone. How
its tool is called is the same from 0.49.26 to 0.53.6. It runs in a process of its own: some files end ONNX
Runtime 1.19 with an abort instead of an exception.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import onnxcomp
from onnxcomp import extras
from onnxcomp.deploy.lint.rule import Finding
from onnxcomp.deploy.targets import Target
from onnxcomp.errors import MissingPackageError

RULE = "onnxruntime"
WHY = "Polygraphy's check lint runs onnx.checker and ONNX Runtime {version} on random input"
FIX = "export it again, or answers on the target cannot be compared with those of ONNX Runtime here"


def run(path: Path, target: Target) -> tuple[list[Finding], str]:
    """What Polygraphy finds in the file, and a line that says what was run.

    A node that fails is an error where ONNX Runtime is the target, elsewhere a warning: TensorRT may take it.
    """
    try:
        version = extras.onnxruntime().__version__
    except MissingPackageError as error:
        return [], f"not run in ONNX Runtime: {error.what}"
    entries = _entries(path)
    why, found = WHY.format(version=version), []
    for entry in entries:
        fatal = _fails(entry) and target.tensorrt is None
        what = " ".join(str(entry["message"]).split())
        for node in entry.get("nodes") or [""]:
            found.append(Finding(RULE, "error" if fatal else "warning", _name(node), what, why, FIX))
    verdict = "does not run it" if any(map(_fails, entries)) else "runs it"
    return list(dict.fromkeys(found)), f"ONNX Runtime {version} {verdict}"


def _entries(path: Path) -> list[dict[str, Any]]:
    """What Polygraphy writes of the file, from a process of its own."""
    root = str(Path(onnxcomp.__file__).parents[1])
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    places = [root, *(os.path.abspath(place) for place in given if place)]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "lint.json"
        done = subprocess.run(
            [sys.executable, "-m", __name__, str(path.absolute()), str(output)],
            cwd=folder,  # or files of the user's folder would be modules
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
            capture_output=True,
            text=True,
            check=False,
        )
        if output.exists():
            entries: list[dict[str, Any]] = json.loads(output.read_text(encoding="utf-8"))["lint_entries"]
            return entries
    return [{"level": "exception", "message": _end(done)}]


def _end(done: subprocess.CompletedProcess[str]) -> str:
    """Why the process left no report."""
    if done.returncode < 0:
        return f"ONNX Runtime ends with {signal.Signals(-done.returncode).name}"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return f"Polygraphy ends with {lines[-1] if lines else done.returncode}"


def _fails(entry: dict[str, Any]) -> bool:
    return bool(entry["level"] == "exception")


def _name(node: str) -> str:
    """The name, but for those that Polygraphy gave to nodes without."""
    return "" if node.startswith("polygraphy_unnamed_node") else node


def _check(path: str, output: str) -> None:
    """Let Polygraphy write its report; for the process of :func:`_entries`."""
    extras.onnxruntime()
    from polygraphy.tools.check.subtool.lint import Lint

    tool = Lint()
    given = tool.setup_parser().parse_args([path, "-o", output, "--silent"])
    tool.parse(given)
    tool.run(given)


if __name__ == "__main__":
    _check(*sys.argv[1:])
