"""Netron's own files, and its page changed so that it opens our network and asks nobody else for anything.

Netron 9 asks ipinfo.io for the country, shows a message about cookies, reports its use to Google
Analytics, and 180 days after its release shows nothing but a request to update it; a laboratory has no
network for any of it. All of that hangs on its page's ``<meta>`` elements and a cookie (``view`` and
``start`` in Netron's browser.js, 8.0 to 9.3). The content security policy forbids other hosts besides.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

from onnxcomp import extras
from onnxcomp.errors import MissingPackageError

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".png": "image/png",
    ".ico": "image/x-icon",
}
CONSENT = "consent=1; Path=/; SameSite=Strict"
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:;"
    " connect-src 'self' data: blob:; worker-src 'self' blob:; frame-src 'none'; object-src 'none';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# A version of 0.0.0 is what Netron's developers see: nothing is reported. Without a date it is new.
META = re.compile(r'<meta name="(version|date|file|name|identifier|type)" content="[^"]*">\s*')


def folder() -> Path:
    """Where Netron's page lies.

    Raises:
        MissingPackageError: the package netron is not installed, or has no page.
    """
    found = Path(extras.optional("netron", "view").__file__).parent
    if not (found / "index.html").is_file():
        raise MissingPackageError(
            "the package netron has no page", where=str(found), fix="run: pip install 'onnxcomp[view]'"
        )
    return found


def page(source: str, data: str, name: str) -> bytes:
    """Netron's index.html with the network in it.

    Args:
        source: the text of the file.
        data: path on the server of the network's bytes; letters, digits, ``/`` and ``.`` only.
        name: what the page calls the network; any text.
    """
    file = name if name.endswith(".onnx") else f"{name}.onnx"  # Netron goes by the ending
    said = {"version": "0.0.0", "type": "onnxcomp", "file": data, "name": name, "identifier": file}
    metas = "\n".join(f'<meta name="{key}" content="{html.escape(value)}">' for key, value in said.items())
    return META.sub("", source).replace("<title>", f"{metas}\n<title>", 1).encode()


def asset(place: Path, path: str) -> tuple[str, bytes] | None:
    """Content type and bytes of one of Netron's files; None for anything else.

    Args:
        place: as :func:`folder` gives it.
        path: as asked for: ``/view.js``. Netron has no folders, so nothing with another slash is one.
    """
    name = path.removeprefix("/")
    kind = TYPES.get(Path(name).suffix)
    if kind is None or "/" in name or "\\" in name or "\0" in name or not (place / name).is_file():
        return None
    return kind, (place / name).read_bytes()
