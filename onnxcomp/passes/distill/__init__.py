"""Knowledge distillation from the original network."""

from onnxcomp.passes.distill.distill import Distill

__all__ = ["Distill"]
