"""Which layers of a candidate are to blame where it answers worse than a reference."""

from onnxcomp.bisect.bisection import Bisection, bisect

__all__ = ["Bisection", "bisect"]
