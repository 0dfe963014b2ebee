"""The stand-in for trtexec put in a folder, and run."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onnxcomp.deploy.trtexec.version import Version

STAND_IN = Path(__file__).with_name("stand_in.py")
VERSIONS = {each: Version(*map(int, each.split("."))) for each in ("8.5.2", "8.6.1", "10.3.0", "11.1.0")}


def install(folder: Path, **settings: Any) -> Path:
    """An executable ``folder/trtexec`` with its settings beside it (stand_in.py says which there are)."""
    there = folder / "trtexec"
    shutil.copy(STAND_IN, there)
    there.chmod(0o755)
    (folder / "trtexec.json").write_text(json.dumps(settings))
    return there


def run(there: Path, *words: str) -> tuple[int, str]:
    """Exit code, and stdout with stderr."""
    done = subprocess.run(
        [str(there), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout


def built(folder: Path, onnx: Path, words: Sequence[str] = (), **settings: Any) -> tuple[Path, Path]:
    """The stand-in and an engine that it built with ``words``."""
    there, engine = install(folder, **settings), folder / "m.plan"
    old = settings.get("version", "8.5.2") == "8.5.2"
    only = "--buildOnly" if old else "--skipInference"
    code, text = run(there, f"--onnx={onnx}", f"--saveEngine={engine}", only, *words)
    assert code == 0, text
    return there, engine
