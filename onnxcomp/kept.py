"""What caches of measurements share: where they are, and what tells their subjects apart."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from onnxcomp.fingerprint import fingerprint
from onnxcomp.model import Model


def default_root(kind: str) -> Path:
    """A folder of onnxcomp's in the user's cache: ``~/.cache/onnxcomp/<kind>`` on Linux."""
    import pooch  # type: ignore[import-untyped]  # slow, and needed only here

    return Path(pooch.os_cache("onnxcomp")) / kind


def digest(value: object) -> str:
    """SHA-256 of a JSON value, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def model_digest(model: Model) -> str:
    """SHA-256 of a student's structure, weights and preprocessing; names of classes do not count."""
    return fingerprint(replace(model, recipe="", classes=(), properties={}, given={}))
