"""Compress an ONNX image classifier: pruning, INT8 and distillation, trained without PyTorch."""

__version__ = "0.1.0"
