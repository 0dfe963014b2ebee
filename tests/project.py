"""The checkout under test: where it is, what it imports, and a Python process in it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "onnxcomp"

# What `import onnxcomp` and `--help` must do without.
OPTIONAL = (
    "onnxruntime", "polygraphy", "torch", "sklearn", "matplotlib", "tensorrt", "mpi4py", "tensorboardX",
    "netron",
    "jinja2",
)  # fmt: skip


def sources(folder: Path = PACKAGE) -> list[Path]:
    """The Python files under ``folder``."""
    return sorted(folder.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a file imports anywhere in it; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def python(code: str, *args: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a new interpreter at the root, with warnings as errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
