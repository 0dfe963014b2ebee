"""The form that ONNX Runtime's CPU kernels run in integers from the first layer to the last.

ONNX Runtime computes an operator in integers where DequantizeLinear stands before each of its inputs, the
bias included, and QuantizeLinear behind its output. Everything else runs in float32, with a conversion and a
transposition on either side, because integer convolutions keep channels last. :func:`integer_form` rewrites
what the compression form has between its pairs into such operators; the result is standard ONNX.

Where the CPU has no VNNI instructions, products of two neighbouring uint8 * int8 pairs are added in 16 bits
(vpmaddubsw), which saturates: there the answers differ by more than single steps, unless the session option
:data:`onnxcomp.runtime.EXACT` is set.
"""

from onnxcomp.deploy.integer.form import Integer, integer_form
from onnxcomp.deploy.integer.kernels import Kernels, kernels

__all__ = ["Integer", "Kernels", "integer_form", "kernels"]
