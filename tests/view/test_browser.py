from __future__ import annotations

import threading
import webbrowser

import pytest

from onnxcomp.view.browser import open_in_background, why_none


@pytest.mark.parametrize(
    ("environment", "platform", "expected"),
    [
        ({}, "linux", "there is no screen"),
        ({"DISPLAY": ":0"}, "linux", None),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", None),
        ({"DISPLAY": ":10", "SSH_CONNECTION": "a 1 b 2"}, "linux", "this is a session over SSH"),
        ({"BROWSER": "firefox", "SSH_CONNECTION": "a 1 b 2"}, "linux", None),
        ({}, "darwin", None),
        ({}, "win32", None),
    ],
)
def test_where_a_browser_can_be_opened(
    environment: dict[str, str], platform: str, expected: str | None
) -> None:
    assert why_none(environment, platform) == expected


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (True, []),
        (False, ["no browser was found"]),
        (webbrowser.Error("could not locate runnable browser"), ["could not locate runnable browser"]),
    ],
)
def test_what_comes_of_it(
    outcome: bool | Exception, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def fake(url: str) -> bool:
        opened.append(url)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setenv("BROWSER", "x")
    monkeypatch.setattr(webbrowser, "open", fake)
    before, reasons = set(threading.enumerate()), list[str]()
    open_in_background("http://localhost:1/", reasons.append)
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert opened == ["http://localhost:1/"]
    assert reasons == expected


def test_without_a_screen_nothing_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BROWSER", raising=False)
    monkeypatch.setenv("SSH_CONNECTION", "a 1 b 2")
    monkeypatch.setattr(webbrowser, "open", lambda url: pytest.fail("opened"))
    reasons = list[str]()
    open_in_background("http://localhost:1/", reasons.append)
    assert reasons == ["this is a session over SSH"]
