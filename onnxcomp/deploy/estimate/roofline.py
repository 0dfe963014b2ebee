"""How long work takes: by the target's rates and bandwidth, and what kernels reach of them.

The roofline model of Williams, Waterman and Patterson, 2009.
"""

from __future__ import annotations

from dataclasses import dataclass

from onnxcomp.deploy.estimate.work import BYTES, Work, filled
from onnxcomp.deploy.targets import Rates, Target
from onnxcomp.errors import OnnxcompError

TENSOR_CORES = (8, 0)
"""From here on float32 products run in TF32 on tensor cores, at half of FP16's rate."""
FEW = 8
"""Channels of a group below which a convolution is done without tensor cores."""


@dataclass(frozen=True)
class Assumptions:
    """What is not known and is taken to be so.

    Attributes:
        compute: share of the rate that convolutions and products reach. 0.37 is what three INT8 convolutions
            of 64 channels reach on an A100 in a sample of NVIDIA's TREx (ResNet-18, batch 32); all others
            are taken alike.
        bandwidth: share of the memory's bandwidth that they, and elementwise kernels, reach.
        reformat: share of it that a change of type reaches; that of the input in the same sample.
        sparse: share of the gain of 2:4 that layers get: "about 15 %" of the whole (TensorRT issue 2310), and
            1.24 to 1.47 times in products (Deep-Learning-Accelerator-SW).
        launch: microseconds between two kernels, in a CUDA graph.
        layer: microseconds that the smallest kernel takes.
    """

    compute: float = 0.37
    bandwidth: float = 0.6
    reformat: float = 0.16
    sparse: float = 0.4
    launch: float = 1.0
    layer: float = 3.0


BOARD = Assumptions(launch=2.0, layer=5.0)
CARD = Assumptions()


@dataclass(frozen=True)
class Roof:
    """A target as seen from its limits.

    Attributes:
        target: with rates and a bandwidth.
        assumptions: about kernels.
    """

    target: Target
    assumptions: Assumptions

    @classmethod
    def of(cls, target: Target) -> Roof:
        """Of a target whose figures are known.

        Raises:
            OnnxcompError: they are not.
        """
        if target.rates is None or target.rates.int8 is None or target.bandwidth is None:
            raise OnnxcompError(
                f"nothing is known of how fast {target.device} is",
                where="--target",
                fix="choose a device from onnxcomp targets, or write its figures in a .yaml file",
            )
        return cls(target, BOARD if target.jetpack else CARD)

    def microseconds(self, work: Work, *, sparse: bool = True) -> float:
        """Time of one layer.

        Args:
            sparse: let it use a kernel for 2:4 weights, where it has them and the target does.
        """
        if work.free:
            return 0.0
        given = self.assumptions
        return max(*self._both(work, sparse=sparse), given.layer) + given.launch

    def bound(self, work: Work, *, sparse: bool = True) -> str:
        """What its time is made of: arithmetic, memory or the launch."""
        computing, moving = self._both(work, sparse=sparse)
        if max(moving, computing) < self.assumptions.layer:
            return "launch"
        return "arithmetic" if computing > moving else "memory"

    def _both(self, work: Work, *, sparse: bool) -> tuple[float, float]:
        """Microseconds of its arithmetic, and of its bytes."""
        given = self.assumptions
        assert self.target.bandwidth is not None
        moved = work.moved + work.weights * BYTES[work.precision]
        computing = self.operations(work) / (self.rate(work, sparse=sparse) * given.compute)
        share = given.reformat if work.kind == "reformat" else given.bandwidth
        return 1e6 * computing, 1e6 * moved / (self.target.bandwidth * share)

    def operations(self, work: Work) -> float:
        """Two for each multiply-add, channels filled up to what a kernel takes at once."""
        if not work.macs:
            return 0.0
        if self._few(work):
            return 2.0 * work.macs
        both = filled(work.inputs, work.precision) * filled(work.outputs, work.precision)
        return 2.0 * work.macs * both / (work.inputs * work.outputs)

    def rate(self, work: Work, *, sparse: bool = True) -> float:
        """Operations a second at best, of kernels of its type."""
        rates = self.target.rates or Rates()
        assert rates.int8 is not None
        fp16 = rates.fp16 or rates.int8 / 2  # of a DLA, where nobody says
        fp32 = rates.fp32 or fp16 / 4
        if self._few(work):
            return fp32 * (4 if work.precision == "INT8" else 1)
        if work.precision == "INT8":
            gain = (
                1 + (rates.sparse - 1) * self.assumptions.sparse if sparse and self.is_sparse(work) else 1.0
            )
            return rates.int8 * gain
        if work.precision == "FP16":
            return fp16
        modern = self.target.compute_capability is not None and self.target.compute_capability >= TENSOR_CORES
        return max(fp32, fp16 / 2) if modern else fp32

    def is_sparse(self, work: Work) -> bool:
        """Whether TensorRT may run it with a kernel for 2:4 weights, and such kernels pay."""
        least = self.target.two_four
        fits = work.two_four and work.precision == "INT8" and work.groups == 1
        return fits and least is not None and min(work.inputs, work.outputs) >= least

    def _few(self, work: Work) -> bool:
        return work.kind == "convolution" and work.groups > 1 and min(work.inputs, work.outputs) < FEW
