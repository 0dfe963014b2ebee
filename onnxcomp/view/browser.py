"""The user's browser, where there is one that can show a page here."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from collections.abc import Callable, Mapping


def why_none(environment: Mapping[str, str], platform: str = sys.platform) -> str | None:
    """Why no browser is to be opened; None where one may.

    ``$BROWSER`` is the user's word and always counts. Without a screen only browsers in the terminal
    would start, which cannot show the page.
    """
    if environment.get("BROWSER"):
        return None
    if environment.get("SSH_CONNECTION"):
        return "this is a session over SSH"
    if platform.startswith("linux") and not (
        environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")
    ):
        return "there is no screen"
    return None


def open_in_background(url: str, failed: Callable[[str], None]) -> None:
    """Open ``url``; a browser may keep its caller waiting, so nobody waits for it.

    Args:
        failed: called with the reason where no browser could be opened.
    """
    reason = why_none(os.environ)
    if reason is not None:
        failed(reason)
        return
    threading.Thread(target=_open, args=(url, failed), daemon=True).start()


def _open(url: str, failed: Callable[[str], None]) -> None:
    try:
        opened = webbrowser.open(url)
    except webbrowser.Error as error:
        failed(str(error))
        return
    if not opened:
        failed("no browser was found")
