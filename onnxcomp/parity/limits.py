"""What a candidate must hold, from the command line and from a YAML file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from onnxcomp.errors import OnnxcompError
from onnxcomp.parity.comparator import ErrorStat, Tolerance
from onnxcomp.yaml_file import read_yaml

DropBy = Literal["lower", "estimate", "upper"]
FIX = "see docs/parity.md for the limits that there are"


@dataclass(frozen=True)
class Limits:
    """What a candidate must hold; None is no limit.

    Attributes:
        max_drop: points of top-1 that it may lose.
        drop_by: what of the drop must be within ``max_drop``: the ``lower`` end of its interval (fails where
            the drop is larger than chance explains), the ``estimate`` itself, or the ``upper`` end (passes
            where the drop is surely smaller).
        confidence: of that interval, in percent.
        min_agreement: least share of images with the same top-1 class, in percent.
        min_cosine: least mean cosine between the two vectors of logits.
        min_sqnr: least SQNR of the logits, in dB.
        atol, rtol: tolerances of the logits for Polygraphy; one that is None is 0 where the other is given.
        check_error_stat: which errors must be within them.
        layers: least SQNR, in dB, of inner tensors, by a pattern of their names or of the nodes that give
            them; the last pattern that fits counts.

    Raises:
        OnnxcompError: a limit is NaN, which every candidate would hold, or the confidence out of range.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    max_drop: float | None = 0.5
    drop_by: DropBy = "lower"
    confidence: float = 95.0
    min_agreement: float | None = None
    min_cosine: float | None = None
    min_sqnr: float | None = None
    atol: float | None = None
    rtol: float | None = None
    check_error_stat: ErrorStat = "elemwise"
    layers: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        figures = {
            **{f"--{item.name.replace('_', '-')}": getattr(self, item.name) for item in fields(self)},
            **{f"layers: {pattern}": least for pattern, least in self.layers.items()},
        }
        for name, value in figures.items():
            if isinstance(value, float) and math.isnan(value):
                raise OnnxcompError("nan is no limit", where=name, fix="give a number")
            if name in ("--atol", "--rtol") and value is not None and value < 0:
                raise OnnxcompError(f"{value:g} is below 0", where=name, fix="give 0 or more")
        if not 0 < self.confidence < 100:
            raise OnnxcompError(
                f"{self.confidence:g} % is no confidence",
                where="--confidence",
                fix="give one above 0 and below 100",
            )

    @property
    def tolerance(self) -> Tolerance | None:
        """For Polygraphy; None where neither was given."""
        if self.atol is None and self.rtol is None:
            return None
        return Tolerance(self.atol or 0.0, self.rtol or 0.0, self.check_error_stat)


_ADAPTER: TypeAdapter[Limits] = TypeAdapter(Limits)


def read_limits(path: Path | None, given: Mapping[str, Any]) -> Limits:
    """Limits from a YAML file (``max_drop: 0.5``), with those of ``given`` that are not None instead.

    Raises:
        OnnxcompError: the file cannot be read or holds something else; names the field.
    """
    said = {name: value for name, value in given.items() if value is not None}
    if path is None:
        return Limits(**said)
    entries = _parsed(path)
    try:
        return _ADAPTER.validate_python({**entries, **said})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise OnnxcompError(f"{name}: {first['msg']}", where=str(path), fix=FIX) from error


def _parsed(path: Path) -> dict[str, Any]:
    entries = read_yaml(path, fix=FIX)
    if not isinstance(entries, dict) or not all(isinstance(key, str) for key in entries):
        raise OnnxcompError("holds no limits", where=str(path), fix="write lines such as max_drop: 0.5")
    return entries
