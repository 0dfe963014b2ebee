"""Any ONNX classifier as a teacher: read from its file, adapted to the student, copied beside it."""

from onnxcomp.passes.distill.teachers.checks import check
from onnxcomp.passes.distill.teachers.joining import Teachers, attach
from onnxcomp.passes.distill.teachers.reading import read

__all__ = ["Teachers", "attach", "check", "read"]
