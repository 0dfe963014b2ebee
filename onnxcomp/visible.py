"""Names as a terminal shows them: a file may hold any text, and none of it is to move a cursor."""

from __future__ import annotations


def visible(text: str) -> str:
    r"""``text`` with each character that does not show as itself written out, ESC as ``\x1b``.

    Those are control characters, line breaks, and what turns or hides the text around it.
    """
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode()
