"""The report as a page, and in a browser."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from onnxcomp.data import open_data
from onnxcomp.page import html
from onnxcomp.page.report import Report, Wish, gather
from tests.browser import Visit
from tests.made import HOSTILE
from tests.page import kept

SECTIONS = ["networks", "estimates", "training", "layers", "sensitivity", "profile", "reproduce"]


@pytest.fixture(scope="module")
def report(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("kept")
    wish = Wish(
        targets=("orin",),
        sensitivities=(kept.pruned(folder / "s.json", HOSTILE), kept.quantised(folder / "q.json")),
        profiles=(kept.profiled(folder / "p.json", onnx=str(made / "deployable.onnx")),),
        data=open_data("digits"),
        images=8,
    )
    return gather([made], wish)


@pytest.fixture(scope="module")
def page(report: Report) -> str:
    return html.render(report)


class Tags(HTMLParser):
    """Notes what a page consists of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            if name == "id":
                self.ids.append(value or "")
            elif name in ("href", "src", "action", "data", "xlink:href"):
                self.links.append(value or "")


def test_the_same_report_gives_the_same_bytes(report: Report, page: str) -> None:
    assert html.render(report) == page
    assert not re.search(r"\b20\d\d-\d\d-\d\d", page), "a date"


def test_all_sections_with_no_name_twice_and_no_address(page: str) -> None:
    tags = Tags(page)
    assert [name for name in tags.ids if name in SECTIONS] == SECTIONS
    assert len(set(tags.ids)) == len(tags.ids)
    links = [link for link in tags.links if link != "data:,"]
    assert links
    assert {link[0] for link in links} == {"#"}
    assert {link[1:] for link in links} <= set(tags.ids)
    assert tags.tags.count("script") == 1
    assert "img" not in tags.tags
    assert "@import" not in page
    assert page.count('<svg class="chart"') == page.count('role="img"') == page.count("<desc ")


def test_a_run_without_anything_more(run: Path) -> None:
    for name in ("results.json", "deployable.onnx", "trained.onnx", "run.json"):
        (run / name).unlink()
    (run / "training" / "metrics.jsonl").unlink()
    bare = html.render(gather([run], Wish()))
    assert "What is missing" in bare
    assert "No step was logged" in bare
    assert "None was kept" in bare
    assert 'id="layers"' not in bare


def test_in_a_browser(page: str, tmp_path: Path, visit: Visit) -> None:
    """No error, no request but for the page itself, nothing of a node's name obeyed, light and dark."""
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    tab = visit.page
    tab.emulate_media(color_scheme="light")
    tab.goto((tmp_path / "report.html").as_uri())
    tab.wait_for_load_state()
    light = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    visit.screenshot("report-light", full_page=True)
    assert tab.title().startswith("Compression report")
    # The hostile name stands there as text.
    tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert tab.get_by_text("<script>document.title='owned'</script>").count() > 0
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
        "the page itself scrolls sideways"
    )

    tab.emulate_media(color_scheme="dark")
    dark = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert light != dark
    visit.screenshot("report-dark", full_page=True)
    tab.click("#theme")  # as the system -> light, whatever the system says
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == light
    tab.click("#theme")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == dark
    tab.emulate_media(media="print", color_scheme="dark")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == light
    assert not tab.is_visible("#theme")

    colours = tab.evaluate(
        "[...document.querySelectorAll('svg.chart path')].map((one) => getComputedStyle(one).stroke)"
    )
    assert any(colour not in ("none", "rgb(0, 0, 0)") for colour in colours), "variables are not colours"
    assert visit.errors == []
    assert visit.requests == [(tmp_path / "report.html").as_uri()]
    assert visit.foreign() == []


def test_no_script_but_its_own_runs(page: str, tmp_path: Path, visit: Visit) -> None:
    """Even if a name had got through: the page says which script is its own."""
    hurt = page.replace("</main>", "<script>document.title = 'owned'</script></main>")
    (tmp_path / "report.html").write_text(hurt, encoding="utf-8")
    visit.page.goto((tmp_path / "report.html").as_uri())
    assert visit.page.title() != "owned"
    assert any("Content Security Policy" in error for error in visit.errors)
