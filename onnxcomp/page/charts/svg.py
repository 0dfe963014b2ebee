"""A matplotlib figure as SVG for a page, the same bytes each time.

Colours of the figure are placeholders that become variables of the page's style, so that one drawing does for
light, dark and paper.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

from onnxcomp import extras

EXTRA = "report"
INK, FAINT, PAPER = "#010101", "#010102", "#010103"
SERIES = tuple(f"#0102{number:02x}" for number in range(7))
"""Placeholders; a chart with more series than these begins again."""
_COLOURS = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    PAPER: "var(--paper)",
    **{colour: f"var(--c{number})" for number, colour in enumerate(SERIES, 1)},
}
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "onnxcomp",
    "font.size": 9.0,
    "font.family": "sans-serif",
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.0,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.6,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
}
_TAG = re.compile("<[^>]*>")
_DIGITS = re.compile(r"(\.\d\d)\d+")
_CUT = (
    re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL),
    re.compile(r"<defs>\s*<style.*?</style>\s*</defs>\s*", re.DOTALL),
)
"""What says when it was drawn, and a style that would hold for the whole page."""


@dataclass(frozen=True)
class Chart:
    """A drawing.

    Attributes:
        title: what it shows, for its heading.
        text: the same as a sentence with the main figures, for those who cannot see it.
        svg: the element.
    """

    title: str
    text: str
    svg: str


def require() -> None:
    """Refuse before any work where matplotlib is missing.

    Raises:
        MissingPackageError: it is.
    """
    extras.optional("matplotlib", EXTRA)


@contextmanager
def figure(width: float, height: float) -> Iterator[Any]:
    """An empty figure, in inches, in the style of the page; neither a display nor global state is used."""
    matplotlib = extras.optional("matplotlib", EXTRA)
    module = extras.optional("matplotlib.figure", EXTRA)
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # Text stays text: the reader's fonts have what matplotlib's have not.
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        yield module.Figure(figsize=(width, height), layout="constrained")


def chart(drawn: Any, name: str, title: str, text: str) -> Chart:
    """Write a figure as SVG; call it within :func:`figure`.

    Args:
        name: letters, digits and ``-``, which no other chart of the page has.
    """
    backend = extras.optional("matplotlib.backends.backend_svg", EXTRA)
    written = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    backend.FigureCanvasSVG(drawn).print_svg(written, metadata=nothing)
    return Chart(title, text, _embedded(written.getvalue(), name, title, text))


def _embedded(document: str, name: str, title: str, text: str) -> str:
    body = document[document.index("<svg") :]
    head, _, rest = body.partition(">")
    box = re.search(r'viewBox="[^"]+"', head)
    assert box is not None
    for part in _CUT:
        rest = part.sub("", rest)
    rest = _TAG.sub(lambda tag: _tag(tag[0], name), rest)
    rest = "\n".join(line.strip() for line in rest.splitlines() if line.strip())
    labels = f'role="img" aria-labelledby="{name}-title {name}-text"'
    inner = f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-text">{escape(text)}</desc>'
    return f'<svg class="chart" {box[0]} {labels}>{inner}{rest.rstrip()}'


def _tag(tag: str, name: str) -> str:
    """A tag with names of its own, the page's fonts and colours, and two digits behind the point."""
    tag = re.sub(r"(\bid=\"|url\(#|href=\"#)", rf"\g<1>{name}-", tag).replace("xlink:href", "href")
    tag = re.sub(r"font-family: [^;\"]+; ?", "", tag)
    for colour, variable in _COLOURS.items():
        tag = tag.replace(colour, variable)
    return _DIGITS.sub(r"\1", tag)
