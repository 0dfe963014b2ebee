"""In what a layer computes."""

from __future__ import annotations

import pytest

from onnxcomp.deploy.profile.precision import (
    has_sparse_kernel,
    is_float_output,
    is_reformat,
    multiplies,
    precision,
)
from onnxcomp.deploy.trtexec.exports.layers import LayerInfo, Tensor, read_layers
from tests.deploy.trtexec.samples import REAL, needs_real


def layer(kind: str, reads: str, writes: str, weights: str = "", tactic: str = "") -> LayerInfo:
    """One that reads and writes tensors of these types; "?" is a type that is not said."""
    inputs, outputs = (
        tuple(Tensor("t", (), "", "" if each == "?" else each) for each in types.split())
        for types in (reads, writes)
    )
    return LayerInfo("l", kind, inputs=inputs, outputs=outputs, weights=weights, tactic=tactic)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (layer("CaskConvolution", "INT8", "INT8", "INT8"), "INT8"),
        (layer("CaskConvolution", "INT8 FP16", "FP32", "INT8"), "INT8"),
        (layer("CaskConvolution", "FP16", "FP16", "FP16"), "FP16"),
        (layer("CaskConvolution", "FP16", "FP16", "INT8"), "FP16"),  # weights alone are kept in INT8
        (layer("CaskConvolution", "?", "?", "INT8"), "INT8"),
        (layer("gemm", "INT8 INT8", "FP16"), "INT8"),
        (layer("CaskPooling", "INT8", "INT8"), "INT8"),
        (layer("PointWiseV2", "INT8", "FP16"), "FP16"),
        (layer("kgen", "FP16 INT32", "FP32"), "FP32"),
        (layer("Gather", "INT32", "INT64"), "INT32"),
        (layer("Reformat", "FP32", "INT8"), "FP32 to INT8"),
        (layer("Reformat", "?", "INT8"), ""),
        (layer("NoOp", "", ""), ""),
        (LayerInfo("a + b"), ""),
    ],
)
def test_precision(given: LayerInfo, expected: str) -> None:
    assert precision(given) == expected


def test_reformats_and_products() -> None:
    assert is_reformat(LayerInfo("Reformatting CopyNode for Input Tensor 0 to conv"))
    assert not is_reformat(LayerInfo("conv"))
    assert not is_reformat(LayerInfo("Reformatting CopyNode for Input Tensor 0 to conv", "CaskConvolution"))
    assert not multiplies(LayerInfo("r", "Reformat", parameters="Convolution"))
    assert multiplies(LayerInfo("c", "ConvActPool"))
    assert multiplies(LayerInfo("c", "other", parameters="MatrixMultiply"))
    assert not multiplies(LayerInfo("conv", "CaskPooling"))


def test_floats_written_by_an_int8_layer() -> None:
    assert is_float_output(layer("CaskConvolution", "INT8", "FP16", "INT8"))
    assert not is_float_output(layer("CaskConvolution", "INT8", "INT8", "INT8"))
    assert not is_float_output(layer("CaskConvolution", "INT8", "?", "INT8"))
    assert not is_float_output(layer("CaskConvolution", "FP16", "FP32"))


def test_sparse_kernels() -> None:
    assert has_sparse_kernel(layer("c", "", "", tactic="sm80_xmma_fprop_sparse_conv_f16f16")) is True
    assert has_sparse_kernel(layer("c", "", "", tactic="sm80_xmma_fprop_implicit_gemm_f16f16")) is False
    assert has_sparse_kernel(layer("c", "", "")) is None


@needs_real
def test_real_output() -> None:
    layers = read_layers(REAL / "layerinfo_trt8.json").layers
    found = [precision(each) for each in layers]
    assert found == ["FP32 to INT8", "INT8", "INT8", "INT8", "INT8", "FP32", "FP32"]
