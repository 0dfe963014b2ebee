"""Tests of tests.browser: what the page fixture notices, so that tests that rely on it can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import SCREENSHOTS, Visit

PAGE = """<!doctype html><title>t</title><p id=a>word</p>
<script>console.error('said'); console.log('chat'); setTimeout(() => { throw Error('thrown') })</script>
<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw="><img src="http://192.0.2.1:9/x.png">"""


def test_it_notices_errors_and_other_hosts(
    visit: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "page.html"
    file.write_text(PAGE)
    visit.page.context.set_offline(True)
    visit.page.goto(file.as_uri())
    assert visit.page.text_content("#a") == "word"
    assert visit.foreign() == ["http://192.0.2.1:9/x.png"]
    assert "said" in visit.errors
    assert "thrown" in visit.errors
    assert "chat" not in visit.errors
    monkeypatch.setenv(SCREENSHOTS, str(tmp_path / "kept"))
    picture = visit.screenshot("page")
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "kept" / "page.png").read_bytes() == picture.read_bytes()
