"""Debian's Chromium without a window, for tests of pages: what a page asked for, what it complained of.

The fixture ``visit`` (registered in conftest.py) opens pages; tests that ask for it skip where the browser
or playwright is absent.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

NAMES = ("chromium", "chromium-browser")
SCREENSHOTS = "ONNXCOMP_SCREENSHOTS"
LOCAL = ("data", "blob", "about")


@dataclass
class Visit:
    """A page in a context of its own: no cookies, no cache, nothing left of other tests.

    Attributes:
        page: playwright's.
        folder: where screenshots are kept.
        errors: what the console was told as an error, and exceptions that nobody caught.
        requests: every address that the page asked for.
    """

    page: Any
    folder: Path
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def _hear(self, said: Any) -> None:
        if said.type == "error":
            self.errors.append(said.text)

    def foreign(self) -> list[str]:
        """Addresses of other hosts than the page's own; of a file, of any host."""
        own = urlsplit(self.page.url)
        parts = [urlsplit(url) for url in self.requests]
        return [
            url.geturl()
            for url in parts
            if url.scheme not in LOCAL and (url.scheme, url.netloc) != (own.scheme, own.netloc)
        ]

    def screenshot(self, name: str, *, full_page: bool = False) -> Path:
        """Keep a picture ``name.png``, beside the test's files and in ``$ONNXCOMP_SCREENSHOTS`` if set."""
        path = self.folder / f"{name}.png"
        self.page.screenshot(path=path, full_page=full_page)
        if SCREENSHOTS in os.environ:
            kept = Path(os.environ[SCREENSHOTS])
            kept.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, kept / path.name)
        return path


def executable() -> str | None:
    """The browser's program."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium by playwright.

    Of a module, not of the session: while it lives playwright's event loop runs in this thread, and
    nothing else may start one.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    program = executable()
    if program is None:
        pytest.skip("Chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        # Chromium's sandbox refuses to run as root. /dev/shm of a container may be too small for it.
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        running = playwright.chromium.launch(executable_path=program, args=arguments)
        yield running
        running.close()


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Visit]:
    """An empty page of 1280 x 800."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    yield Visit(context.new_page(), tmp_path)
    context.close()
