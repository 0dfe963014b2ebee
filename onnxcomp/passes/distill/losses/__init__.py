"""Distillation losses as subgraphs of standard ONNX nodes, each with a scalar output.

What a loss does with the teacher's tensors alone, image by image, is named ``teacher/loss/...``: it can be
computed once for an image. Everything else is named ``loss/...``.
"""

from onnxcomp.passes.distill.losses.attention import ATTENTION, attention
from onnxcomp.passes.distill.losses.boundary import BOUNDARY, boundary
from onnxcomp.passes.distill.losses.decoupled import DECOUPLED, decoupled
from onnxcomp.passes.distill.losses.hints import HINTS, hints
from onnxcomp.passes.distill.losses.relations import RELATIONS, relations
from onnxcomp.passes.distill.losses.soft_targets import SOFT_TARGETS, soft_targets

__all__ = [
    "ATTENTION",
    "BOUNDARY",
    "DECOUPLED",
    "HINTS",
    "RELATIONS",
    "SOFT_TARGETS",
    "attention",
    "boundary",
    "decoupled",
    "hints",
    "relations",
    "soft_targets",
]
