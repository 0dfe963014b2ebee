from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from onnxcomp.errors import OnnxcompError
from onnxcomp.view.server import DATA, Server, Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "index.html").write_text("<title>Netron</title>", encoding="utf-8")
    (tmp_path / "view.js").write_text("1", encoding="utf-8")
    (tmp_path / "server.py").write_text("secret", encoding="utf-8")
    return Site(tmp_path, "<m>.onnx", b"model")


@pytest.fixture
def server(site: Site) -> Iterator[Server]:
    with Server(site, "127.0.0.1", 0) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def test_the_page_the_network_and_netron_s_files(server: Server) -> None:
    answer, content = ask(server, "/")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b'content="&lt;m&gt;.onnx"' in content
    assert answer.headers["Set-Cookie"].startswith("consent=")
    answer, content = ask(server, f"{DATA}?cb=17")
    assert (answer.status, content) == (200, b"model")
    answer, content = ask(server, "/view.js")
    assert (answer.status, answer.headers["Content-Type"], content) == (200, "text/javascript", b"1")
    answer, content = ask(server, DATA, "HEAD")
    assert (answer.status, answer.headers["Content-Length"], content) == (200, "5", b"")


def test_each_answer_forbids_other_hosts(server: Server) -> None:
    for path in ("/", DATA, "/view.js", "/none"):
        policy = ask(server, path)[0].headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self';")
        assert "http" not in policy


@pytest.mark.parametrize(
    "path", ["/server.py", "/../x", "/%2e%2e/etc/passwd", "/data/", "/data/../view.js", "/none"]
)
def test_nothing_else_is_served(server: Server, path: str) -> None:
    assert ask(server, path)[0].status == 404


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", ""])
def test_a_page_whose_name_points_here_reads_nothing(server: Server, host: str) -> None:
    answer, content = ask(server, DATA, Host=host)
    assert (answer.status, content) == (403, b"unknown host")


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:2"])  # through a tunnel the port differs
def test_names_of_this_machine_are_known(server: Server, host: str) -> None:
    assert ask(server, DATA, Host=host)[0].status == 200


def test_a_browser_that_goes_away_is_no_fault(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(("127.0.0.1", server.server_address[1])) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close with RST
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
    assert ask(server, DATA)[0].status == 200
    assert capfd.readouterr().err == ""


def test_a_port_in_use_is_one_line(server: Server, site: Site) -> None:
    port = server.server_address[1]
    with pytest.raises(OnnxcompError, match=f"--port: port {port} of 127.0.0.1 is in use; choose another"):
        Server(site, "127.0.0.1", port)


def test_an_address_of_another_machine_is_one_line(site: Site) -> None:
    with pytest.raises(OnnxcompError, match=r"--host: cannot listen at 192\.0\.2\.1"):
        Server(site, "192.0.2.1", 0)
    with pytest.raises(OnnxcompError, match=r"--host: cannot listen at no\.such"):
        Server(site, "no.such.host.invalid", 0)


def test_the_address_to_open(site: Site) -> None:
    with Server(site, "0.0.0.0", 0) as server:
        assert server.url == f"http://localhost:{server.server_address[1]}/"
        assert server.knows("the.name.of.this.machine:80")
