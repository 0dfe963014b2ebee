"""Numbers and names as the report shows them."""

from __future__ import annotations

import math

from onnxcomp.visible import visible

UNKNOWN = "-"


def shortened(text: str, limit: int = 48) -> str:
    """At most ``limit`` characters; the middle of a longer text is left out."""
    text = visible(text)
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 2
    return f"{text[: limit - 1 - tail]}…{text[-tail:]}"


def count(value: int | None) -> str:
    """``1,234``."""
    return UNKNOWN if value is None else f"{value:,}"


def percent(value: float | None) -> str:
    """``76.41 %``, of a value in percent."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.2f} %"


def milliseconds(value: float | None) -> str:
    """``1.234``."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.3f}"


def figure(value: float) -> str:
    """Three significant digits."""
    return f"{value:.3g}"
