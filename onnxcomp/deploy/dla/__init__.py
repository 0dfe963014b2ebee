"""The form for the deep-learning accelerator (DLA) of a Jetson: float32, its scales in a file beside.

"DLA does not support Explicit Quantization" (TensorRT Developer Guide 8.5, 12): INT8 there needs a scale for
every tensor, from a calibration cache, and TensorRT computes the scales of weights itself.
"""

from onnxcomp.deploy.dla.files import calibration_text, precisions_text, read_calibration
from onnxcomp.deploy.dla.form import Dla, dla_form

__all__ = ["Dla", "calibration_text", "dla_form", "precisions_text", "read_calibration"]
