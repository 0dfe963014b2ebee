"""Targets as rows of a table: what each technique buys there, and the figures that are known."""

from __future__ import annotations

from onnxcomp.deploy.targets import Rates, Target

COLUMNS = ("target", "device", "runtime", "INT8", "zeros", "2:4 zeros", "fewer channels")
NOTHING, UNKNOWN = "no speed", "-"


def row(target: Target) -> tuple[str, ...]:
    """Cells for :data:`COLUMNS`."""
    return (
        target.name,
        target.device,
        runtime(target),
        int8(target),
        NOTHING,
        two_four(target),
        f"speed, by {target.alignment}s",
    )


def facts(target: Target) -> list[tuple[str, str]]:
    """Name and text of all that is known of one target."""
    rates = target.rates or Rates()
    capability = target.compute_capability
    return [
        ("description", target.description),
        ("device", target.device),
        ("compute capability", UNKNOWN if capability is None else "{}.{}".format(*capability)),
        ("newest JetPack", target.jetpack or UNKNOWN),
        ("TensorRT", version(target) if target.tensorrt else UNKNOWN),
        ("newest opset", str(target.max_opset)),
        ("Q/DQ", _pairs(target)),
        ("memory", _scaled(target.memory, 2**30, "GiB")),
        ("bandwidth", _scaled(target.bandwidth, 1e9, "GB/s")),
        ("FP32", _scaled(rates.fp32, 1e12, "Top/s")),
        ("FP16", _scaled(rates.fp16, 1e12, "Top/s")),
        ("INT8", _scaled(rates.int8, 1e12, "Top/s")),
        ("INT8 buys", int8(target)),
        ("zeros buy", target.sparsity),
        ("2:4 zeros buy", two_four(target)),
        ("widths that are fast", f"multiples of {target.alignment} channels"),
    ]


def runtime(target: Target) -> str:
    """TensorRT with its version, or another."""
    return f"TensorRT {version(target)}" if target.tensorrt else "ONNX Runtime"


def version(target: Target) -> str:
    """Major and minor."""
    assert target.tensorrt is not None
    return ".".join(map(str, target.tensorrt[:2]))


def int8(target: Target) -> str:
    """What INT8 buys at best, by the rates."""
    rates = target.rates
    if rates is None or rates.int8 is None:
        return "speed and a quarter of the size"
    if rates.fp16 is not None:
        return f"at most {rates.int8 / rates.fp16:.1f}x FP16"
    return f"{rates.int8 / 1e12:.0f} Top/s"


def two_four(target: Target) -> str:
    """What 2:4 zeros buy at best."""
    if target.two_four is None:
        return NOTHING
    times = f"at most {target.rates.sparse:g}x" if target.rates else "speed"
    return f"{times}, from {target.two_four} channels"


def _pairs(target: Target) -> str:
    if target.dla:
        return "none: a calibration cache beside the file"
    weights = "float32 weights before Q/DQ" if target.weights == "float" else "INT8 weights before DQ"
    return f"{weights}, {target.activations} activations"


def _scaled(value: float | None, unit: float, name: str) -> str:
    return UNKNOWN if value is None else f"{value / unit:,.4g} {name}"
