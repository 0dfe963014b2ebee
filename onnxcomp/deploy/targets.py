"""What each place of deployment parses and runs fast, as data."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from onnxcomp.errors import OnnxcompError
from onnxcomp.passes.base import Placement


@dataclass(frozen=True)
class Target:
    """Where the deployable form goes.

    Attributes:
        name: what ``--target`` takes.
        description: device and runtime version.
        max_opset: newest opset of ai.onnx its runtime parses.
        weights: ``float`` keeps float32 weights in front of QuantizeLinear -> DequantizeLinear,
            ``int8`` stores INT8 weights in front of DequantizeLinear alone.
        activations: ``int8`` with zero point 0, or ``uint8`` with zero point 128. The scale is the
            same, so the dequantized values are too, and integer kernels agree within one step where
            they do not saturate: x86 CPUs without VNNI add pairs of uint8 * int8 products in 16 bits
            (vpmaddubsw) and do saturate.
        placement: where its runtime wants Q/DQ; see :mod:`onnxcomp.passes.qat.placement`.
        sparsity: what zeros in the weights bring there.
        alignment: its kernels are fast at numbers of channels that are multiples of it; between two
            multiples they compute as much as at the upper one.
        two_four: smallest number of input and of output channels at which a weight in a 2:4 pattern has
            a chance of a sparse kernel; None where the hardware has none. A rule of thumb by NVIDIA's
            engineers: sparsity helps "when convolution channels are large enough (256 or above)"
            (TensorRT issue 4065), C_in and C_out (3849), and grouped convolutions are not considered
            (4054). TensorRT times a sparse and a dense kernel for each such layer and keeps the faster.
        tensorrt: version of TensorRT there; None where another runtime is.
        dla: runs on the deep-learning accelerator of a Jetson, which takes no Q/DQ; see
            :mod:`onnxcomp.deploy.dla`.
    """

    name: str
    description: str
    max_opset: int
    weights: Literal["float", "int8"]
    activations: Literal["int8", "uint8"]
    placement: Placement
    sparsity: str
    alignment: int
    two_four: int | None
    tensorrt: tuple[int, int, int] | None
    dla: bool = False


_TWO_FOUR = (
    "only zeros in a 2:4 pattern bring speed, where TensorRT picks a sparse kernel; it"
    " multiplies all others like any weight"
)

TARGETS = {
    target.name: target
    for target in (
        # The TensorRT 8.5 parser takes opset 17 and weights "must be specified using FP32"
        # (Developer Guide 8.5, 7.4.1); its quantization is symmetric INT8 only. INT8 tensor cores
        # want channels in multiples of 32 (table 5 there, "Types of Tensor Cores"); 2:4 needs "NVIDIA
        # Ampere Architecture GPUs" (6.8), which Orin has (sm_87) and Xavier has not (sm_72).
        Target(
            "xavier",
            "Jetson AGX Xavier, TensorRT 8.5.2",
            max_opset=17,
            weights="float",
            activations="int8",
            placement="tensorrt",
            sparsity="zeros bring no speed: TensorRT multiplies them like any weight, and Volta (sm_72) has"
            " no 2:4 sparse tensor cores",
            alignment=32,
            two_four=None,
            tensorrt=(8, 5, 2),
        ),
        # "DLA does not support Explicit Quantization" (Developer Guide 8.5, 12): float32 without Q/DQ, scales
        # in a calibration cache. Its INT8 format is kCHW32, channels in 32s. "Structured sparsity is a new
        # feature of the Ampere GPU and the DLAs in Orin" (Deep-Learning-Accelerator-SW, FAQ).
        Target(
            "xavier-dla",
            "DLA of the Jetson AGX Xavier, TensorRT 8.5.2",
            max_opset=17,
            weights="float",
            activations="int8",
            placement="tensorrt",
            sparsity="zeros bring no speed: the DLA of the Xavier multiplies them like any weight",
            alignment=32,
            two_four=None,
            tensorrt=(8, 5, 2),
            dla=True,
        ),
        Target(
            "orin",
            "Jetson AGX Orin, TensorRT 10.3",
            max_opset=20,
            weights="int8",
            activations="int8",
            placement="tensorrt",
            sparsity=_TWO_FOUR,
            alignment=32,
            two_four=256,
            tensorrt=(10, 3, 0),
        ),
        # Sparse kernels take INT8 convolutions of more than 64 input channels (Developer Guide 8.5, 12.7).
        # TensorRT 10.7 is the last 10 with a DLA; 11 has it again from 11.4.1, without calibration caches.
        Target(
            "orin-dla",
            "DLA of the Jetson AGX Orin, TensorRT 10.3",
            max_opset=20,
            weights="float",
            activations="int8",
            placement="tensorrt",
            sparsity="only zeros in a 2:4 pattern bring speed, in INT8 convolutions of more than 64 channels",
            alignment=32,
            two_four=65,
            tensorrt=(10, 3, 0),
            dla=True,
        ),
        # "Strongly typed" only: no --int8, no --fp16, no calibration; what Q/DQ does not quantise runs in the
        # type of the file. Its parser knew opset 24 from the beginning.
        Target(
            "tensorrt-11",
            "H200 or another GPU, TensorRT 11",
            max_opset=24,
            weights="int8",
            activations="int8",
            placement="tensorrt",
            sparsity=_TWO_FOUR,
            alignment=32,
            two_four=256,
            tensorrt=(11, 0, 0),
        ),
        # x86 integer kernels multiply unsigned activations with signed weights. ONNX Runtime 1.19
        # uses them for a convolution only where its output is quantized too and its bias is INT32;
        # elsewhere it computes in float32, and INT8 makes the file smaller and nothing faster. Its
        # ONNX Runtime 1.19 has no kernel for QLinearMatMul of opset 21.
        # float32 convolutions work on blocks of 16 channels with AVX-512, of 8 with less
        # (NchwcBlockSize in onnxruntime/core/mlas/lib/platform.cpp).
        Target(
            "ort-cpu",
            "ONNX Runtime on a CPU",
            max_opset=20,
            weights="int8",
            activations="uint8",
            placement="ort-cpu",
            sparsity="zeros bring no speed: ONNX Runtime's CPU kernels are dense",
            alignment=16,
            two_four=None,
            tensorrt=None,
        ),
    )
}


def get_target(name: str) -> Target:
    """The target called ``name``.

    Raises:
        OnnxcompError: there is none; names the nearest.
    """
    if name in TARGETS:
        return TARGETS[name]
    near = difflib.get_close_matches(name.lower(), TARGETS, n=1, cutoff=0.5)
    fix = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(TARGETS)}"
    raise OnnxcompError(f"there is no target {name}", where="--target", fix=fix)
