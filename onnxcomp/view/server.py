"""A small HTTP server of one network and Netron's files."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from onnxcomp.errors import OnnxcompError
from onnxcomp.view.page import CONSENT, POLICY, asset, page

DATA = "/data/model.onnx"
LOCAL = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = ("0.0.0.0", "::", "")


@dataclass(frozen=True)
class Site:
    """What is served.

    Attributes:
        netron: the folder of Netron's page.
        name: what the page calls the network.
        model: its bytes.
    """

    netron: Path
    name: str
    model: bytes


class Server(ThreadingHTTPServer):
    """Serves a :class:`Site` until it is shut down.

    Args:
        site: what to serve.
        host: name or address to listen at.
        port: 0 for a free one.

    Raises:
        OnnxcompError: the port is in use, or host or port cannot be listened at.
    """

    daemon_threads = True

    def __init__(self, site: Site, host: str, port: int) -> None:
        self.site, self.host = site, host
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise _refused(error, host, port) from error

    @property
    def url(self) -> str:
        """The address to open on this machine."""
        host = "localhost" if self.host in EVERYWHERE else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_address[1]}/"

    def knows(self, host: str | None) -> bool:
        """Whether a request may ask for a host of this name.

        Where only this machine is served, a page of another site that lets its name point here must not
        read the network.
        """
        return self.host not in LOCAL or urlsplit(f"//{host or ''}").hostname in LOCAL

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is no fault; anything else is told."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def _refused(error: OSError, host: str, port: int) -> OnnxcompError:
    if error.errno == errno.EADDRINUSE:
        return OnnxcompError(
            f"port {port} of {host} is in use",
            where="--port",
            fix="choose another, or leave it out for a free one",
        )
    if error.errno == errno.EACCES:
        return OnnxcompError(f"port {port} is not allowed", where="--port", fix="choose one from 1024 on")
    reason = error.strerror or str(error)
    return OnnxcompError(
        f"cannot listen at {host} ({reason})", where="--host", fix="use an address of this machine"
    )


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if not self.server.knows(self.headers.get("Host")):
            self._answer(403, "text/plain", b"unknown host", {})
            return
        found = self._find(path)
        if found is None:
            self._answer(404, "text/plain", b"not found", {})
            return
        self._answer(200, *found, {"Set-Cookie": CONSENT} if path == "/" else {})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _find(self, path: str) -> tuple[str, bytes] | None:
        site = self.server.site
        if path == DATA:
            return "application/octet-stream", site.model
        if path in ("/", "/index.html"):
            source = (site.netron / "index.html").read_text(encoding="utf-8")
            return "text/html; charset=utf-8", page(source, DATA, site.name)
        return asset(site.netron, path)

    def _answer(self, status: int, kind: str, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        fixed = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }
        for name, value in {**fixed, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as the base class calls it
        """Say nothing of each request."""
