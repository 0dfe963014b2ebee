"""The site of docs/ builds without a warning, and its pages ask no other host for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import click
import pytest

from onnxcomp import cli
from tests.browser import Visit
from tests.docs.blocks import PAGES
from tests.project import ROOT

LOADS = {
    "script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "video": "src",
    "audio": "src", "embed": "src", "object": "data", "use": "href", "form": "action",
}  # fmt: skip
"""What a browser fetches without being asked to; links that a reader follows are another matter."""
ELSEWHERE = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
CSS = re.compile(r"""(?:url\(\s*|@import\s+)["']?\s*((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)


class Loads(HTMLParser):
    """Collects what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.found += [value for value in (values.get(LOADS.get(tag, "")), values.get("srcset")) if value]
        self.found += CSS.findall(values.get("style") or "")

    def handle_data(self, data: str) -> None:
        self.found += CSS.findall(data) if self.lasttag == "style" else []


def elsewhere(html: str) -> list[str]:
    """What ``html`` has a browser fetch from other hosts."""
    loads = Loads()
    loads.feed(html)
    return [address for address in loads.found if ELSEWHERE.match(address)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(built)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return built


def test_each_page_is_there(site: Path) -> None:
    expected = {page.with_suffix(".html").name for page in PAGES if page.name != "README.md"}
    assert {page.name for page in site.glob("*.html")} == expected | {"404.html"}


def test_the_reference_has_every_command_with_its_help(site: Path) -> None:
    text = (site / "commands.html").read_text(encoding="utf-8")
    for name in cli.COMMANDS:
        command = cli.cli.get_command(click.Context(cli.cli), name)
        assert command is not None
        assert f"Usage: onnxcomp {name} " in text
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert option.opts[-1] in text, f"{name} {option.opts[-1]}"


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert elsewhere(page.read_text(encoding="utf-8")) == [], page.name
    for sheet in site.rglob("*.css"):
        assert CSS.findall(sheet.read_text(encoding="utf-8")) == [], sheet.name


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/x.css">',
        '<img src="HTTP://example.org/x.png">',
        "<style>@import 'https://example.org/x.css';</style>",
        '<p style="background: url(https://example.org/x.png)">',
    ],
)
def test_what_is_loaded_from_elsewhere_is_seen(html: str) -> None:
    assert len(elsewhere(html)) == 1


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """Of a server of the site."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(site))

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_in_a_browser(address: str, visit: Visit) -> None:
    visit.page.goto(f"{address}/quantization.html")
    visit.page.get_by_placeholder("Search").press_sequentially("newcombe")
    visit.page.locator(".md-search-result__link[href*='parity.html']").first.wait_for(timeout=20_000)
    visit.screenshot("docs-search")
    visit.page.goto(f"{address}/tutorial.html")
    assert visit.page.locator("code", has_text="onnxcomp validate").count() > 0
    visit.screenshot("docs-tutorial")
    assert visit.foreign() == []
    assert visit.errors == []


def test_what_is_not_loaded_is_left_alone() -> None:
    assert elsewhere('<a href="https://arxiv.org/abs/1503.02531">x</a><img src="curve.svg">') == []
