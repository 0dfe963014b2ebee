"""What tells one network from another."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from onnxcomp.model import Model, to_proto
from onnxcomp.skeleton import outline


def fingerprint(model: Model) -> str:
    """SHA-256 of the network's structure, weights and metadata, in hexadecimal."""
    outlined = replace(model, graph=outline(model.graph))
    found = hashlib.sha256(to_proto(outlined).SerializeToString(deterministic=True))
    for _, tensor in sorted(model.constants().items()):
        found.update(np.ascontiguousarray(tensor.values).data)
    return found.hexdigest()
