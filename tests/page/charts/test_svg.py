"""A figure as SVG for a page."""

from __future__ import annotations

import re
from xml.dom import minidom

import pytest

from onnxcomp.errors import MissingPackageError
from onnxcomp.page.charts import svg

LABEL = "<script>x()</script> $x$ '\" #010101 卷积"


def draw(name: str = "a") -> svg.Chart:
    with svg.figure(4, 3) as figure:
        axis = figure.subplots()
        axis.plot([0, 1, 2], [1, 3, 2], color=svg.SERIES[0], label=LABEL)
        axis.legend()
        return svg.chart(figure, name, "A <title>", "Said & done")


def test_twice_the_same_and_nothing_of_when_or_where() -> None:
    text = draw().svg
    assert text == draw().svg
    assert "matplotlib.org" not in text
    assert "<metadata" not in text
    assert "<!DOCTYPE" not in text
    assert not re.search(r"\d{4}-\d\d-\d\d", text)
    assert "font-family" not in text


def test_names_inside_are_its_own() -> None:
    ids = [set(re.findall(r'\bid="([^"]+)"', draw(name).svg)) for name in "ab"]
    assert not ids[0] & ids[1]
    text = draw("a").svg
    used = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    assert used
    assert used <= ids[0]


def test_text_is_text_and_inert() -> None:
    root = minidom.parseString(draw().svg).documentElement  # noqa: S318  our own
    assert root is not None
    texts = [words(item) for item in root.getElementsByTagName("text")]
    assert LABEL in texts
    assert words(root.getElementsByTagName("title")[0]) == "A <title>"
    assert words(root.getElementsByTagName("desc")[0]) == "Said & done"
    assert not root.getElementsByTagName("script")


def words(element: minidom.Element) -> str:
    return "".join(node.data for node in element.childNodes if isinstance(node, minidom.Text))


def test_colours_are_the_page_s() -> None:
    text = draw().svg
    assert "stroke: var(--c1)" in text
    assert not re.search(r"#0[0-9a-f]{5}\b", re.sub(r'href="#[^"]*"|>[^<]*<', "", text))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r"onnxcomp\[report\]"):
        svg.require()
