"""Sensitivities and a profile as their commands keep them."""

from __future__ import annotations

from pathlib import Path

from onnxcomp.deploy.profile.layer import Layer, totals_of
from onnxcomp.deploy.profile.profile import FORMAT, Conditions, Profile
from onnxcomp.deploy.trtexec.log import Summary, Times
from onnxcomp.sensitivity.prune import curves
from onnxcomp.sensitivity.prune.curves import Curves
from onnxcomp.sensitivity.qat import effects
from onnxcomp.sensitivity.qat.effects import Effect, Effects
from onnxcomp.sensitivity.scores import Compared, Point


def pruned(path: Path, hostile: str = "a.weight") -> Path:
    """The layer ``b.weight`` is the most sensitive one."""
    layers = {
        hostile: {0.5: Point(90.0, 0.3), 0.9: Point(89.0, 0.4)},
        "b.weight": {0.5: Point(80.0, 1.0), 0.9: Point(40.0, 3.0)},
    }
    dense = Point(91.0, 0.25)
    curves.save(Curves("0" * 64, "images of x", "magnitude", "unstructured", 100, dense, layers, {}), path)
    return path


def quantised(path: Path) -> Path:
    """The layer ``b.weight`` is the most sensitive one; INT8 changes nothing of ``c.weight``."""
    layers = {
        "a.weight": Effect(Compared(91.0, 0.2, 40.0), Compared(90.0, 0.3, 31.0)),
        "b.weight": Effect(Compared(88.0, 0.2, 20.0), Compared(91.0, 0.3, 35.0)),
        "c.weight": Effect(Compared(91.0, 0.2, None), Compared(91.0, 0.3, 30.0)),
    }
    found = Effects(
        "0" * 64, "qat", "images of x", 100, Point(91, 0.2), Compared(90, 0.3, 30.0), None, layers
    )
    effects.save(effects.to_json(found), path)
    return path


def profiled(path: Path, onnx: str = "") -> Path:
    """Two layers, 2 ms in all; the latency is 2.5 ms."""
    layers = (
        Layer("fast", ms=0.5, share=0.25, precision="INT8"),
        Layer("<b>slow</b>", ms=1.5, share=0.75, precision="FP16"),
    )
    conditions = Conditions(onnx=onnx, gpu="Xavier", tensorrt="8.5.2")
    Profile(FORMAT, conditions, Summary(latency=Times(median=2.5)), layers, totals_of(layers)).save(path)
    return path
