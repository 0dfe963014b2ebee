"""What a place of deployment is: what its runtime parses, what it runs fast, and how fast it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from onnxcomp.passes.base import Placement

CHECKED = ConfigDict(extra="forbid", allow_inf_nan=False)
Figure = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]


@dataclass(frozen=True)
class Rates:
    """Operations a second of the unit that the network runs on, at best; a multiply-add is two.

    Attributes:
        fp32, fp16, int8: of dense kernels; None where the unit has none, or nobody says.
        sparse: how many times as fast kernels for 2:4 sparse weights are at best; 1 where there are none.
    """

    __pydantic_config__ = CHECKED

    fp32: Figure | None = None
    fp16: Figure | None = None
    int8: Figure | None = None
    sparse: Annotated[float, Field(ge=1)] = 1.0


@dataclass(frozen=True)
class Target:
    """Where the deployable form goes.

    Attributes:
        name: what ``--target`` takes.
        description: device and runtime version.
        device: the device alone.
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
        tensorrt: oldest version of TensorRT that takes the file; None where another runtime is.
        dla: runs on the deep-learning accelerator of a Jetson, which takes no Q/DQ; see
            :mod:`onnxcomp.deploy.dla`.
        compute_capability: of the GPU; None for a CPU.
        jetpack: newest JetPack for the device; None where it is no Jetson.
        memory: bytes.
        bandwidth: of the memory, bytes a second.
        rates: of the unit; None where nothing is known.
    """

    __pydantic_config__ = CHECKED

    name: str
    description: str
    device: str
    max_opset: Annotated[int, Field(ge=13)]
    weights: Literal["float", "int8"]
    activations: Literal["int8", "uint8"]
    placement: Placement
    sparsity: str
    alignment: Count
    two_four: Count | None
    tensorrt: tuple[int, int, int] | None
    dla: bool = False
    compute_capability: tuple[int, int] | None = None
    jetpack: str | None = None
    memory: Figure | None = None
    bandwidth: Figure | None = None
    rates: Rates | None = None
