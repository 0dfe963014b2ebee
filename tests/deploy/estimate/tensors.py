"""Activations of which only the number of bytes matters."""

from __future__ import annotations

from onnxcomp.deploy.estimate.work import Stored


def stored(count: int) -> tuple[Stored, ...]:
    """One of ``count`` bytes."""
    return (Stored((1, count), "INT8"),)
