"""What TensorRT would make of a file and how long it would take, with no device at hand: an estimate."""

from onnxcomp.deploy.estimate.estimate import Estimate, EstimatedLayer, estimate

__all__ = ["Estimate", "EstimatedLayer", "estimate"]
