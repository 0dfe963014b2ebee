"""Which channels may be scaled by a factor each, without changing what the network computes."""

from onnxcomp.passes.qat.scaling.apply import scale
from onnxcomp.passes.qat.scaling.find import Norm, Reader, Scaling, Weighed, find

__all__ = ["Norm", "Reader", "Scaling", "Weighed", "find", "scale"]
