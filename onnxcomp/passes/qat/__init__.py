"""Quantisation-aware training: Q/DQ pairs with calibrated scales."""

from onnxcomp.passes.qat.qat import Qat

__all__ = ["Qat"]
