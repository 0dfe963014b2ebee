"""Masked magnitude pruning: each weight is multiplied by a mask that training closes gradually."""

from onnxcomp.passes.prune.prune import Prune

__all__ = ["Prune"]
