"""TensorRT's calibration cache, and the layers that trtexec is told to run in FP16.

A cache is text. Its first line is ``TRT-<version>-EntropyCalibration2``; each other one is ``tensor: hex``,
the bits of the float32 scale, sign first, where a scale is ``max |x| / 127`` (samples/sampleINT8/README.md
of NVIDIA/TensorRT, "Calibration file"; tools/qdq-translator/utils.py of
NVIDIA/Deep-Learning-Accelerator-SW). The DLA takes the scales of entropy calibrator 2 only.
``--layerPrecisions`` is ``layer:fp16,layer:fp16`` (the same tool's README).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from onnxcomp.deploy.trtexec.version import Version
from onnxcomp.errors import ModelError

ALGORITHM = "EntropyCalibration2"
FIX = "finalize the network for the DLA again"


def calibration_text(scales: Mapping[str, float], tensorrt: tuple[int, int, int]) -> str:
    """The cache's text.

    Args:
        scales: above 0, by the tensor's name.
        tensorrt: version that is to read it.
    """
    lines = [f"{name}: {struct.pack('>f', scale).hex()}\n" for name, scale in scales.items()]
    return f"TRT-{Version(*tensorrt).number}-{ALGORITHM}\n" + "".join(lines)


def read_calibration(path: Path) -> dict[str, float]:
    """Scales by the tensor's name.

    Raises:
        ModelError: it cannot be read or is no calibration cache.
    """
    try:
        header, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError("cannot be read as a calibration cache", where=str(path), fix=FIX) from error
    if not header.startswith("TRT-") or not header.endswith(ALGORITHM):
        raise ModelError(f"its first line is not TRT-<version>-{ALGORITHM}", where=str(path), fix=FIX)
    return dict(_entry(line, f"{path}: line {number}") for number, line in enumerate(lines, start=2) if line)


def _entry(line: str, where: str) -> tuple[str, float]:
    name, _, digits = line.rpartition(": ")
    try:
        (scale,) = struct.unpack(">f", bytes.fromhex(digits.zfill(8)))
    except (ValueError, struct.error) as error:
        raise ModelError("is not 'tensor: hex'", where=where, fix=FIX) from error
    if not name or not math.isfinite(scale) or scale <= 0:
        raise ModelError("is no tensor with a scale above 0", where=where, fix=FIX)
    return name, scale


def precisions_text(layers: Iterable[str]) -> str:
    """The value of ``--layerPrecisions`` that runs ``layers`` in FP16; empty for none."""
    return ",".join(f"{name}:fp16" for name in layers)


def read_precisions(path: Path) -> str:
    """The value of ``--layerPrecisions`` from a file; empty where there is none.

    Raises:
        ModelError: it cannot be read as text.
    """
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError("cannot be read as a list of layers", where=str(path), fix=FIX) from error
