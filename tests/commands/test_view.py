from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import onnx
import pytest

from onnxcomp import model as models
from onnxcomp import pipeline, recipe
from tests import pictures, run, zoo
from tests.browser import Visit
from tests.commands.call import call

pytest.importorskip("netron", reason="the package netron is not installed")

HOSTILE = "\x1b[31m<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
MASKED = "features.transition1.conv.weight"


@contextmanager
def viewer(path: Path, *arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``onnxcomp view`` as a process, and the address that it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "onnxcomp.cli", "view", str(path), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+/", line)
        assert found, line + process.communicate(timeout=30)[1]
        yield process, found[0]
    finally:
        process.kill()
        process.communicate(timeout=30)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    onnx.save(zoo.mlp(), path)
    return path


@pytest.fixture
def compressed(tmp_path: Path) -> Path:
    """Masked, with Q/DQ pairs, a teacher and losses; three quarters of one weight are masked."""
    passes = recipe.parse("prune,qat,distill")
    model = pipeline.apply(pictures.network("densenet"), passes, calibration=run.Observed())
    mask = model.constants()[f"{MASKED}.mask"]
    mask.values = (np.arange(mask.values.size) % 4 == 0).astype(np.float32).reshape(mask.values.shape)
    path = tmp_path / "c.onnx"
    models.save(model, path)
    return path


def fetched(url: str) -> bytes:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().read()
    finally:
        connection.close()


# Netron replaces window.eval, which playwright looks into pages with.
KEEP_EVAL = (
    "{ const own = window.eval; Object.defineProperty(window, 'eval', {get: () => own, set: () => {}}) }"
)
FIELDS = """() => [...document.querySelectorAll('#sidebar .sidebar-item')].map(item =>
    [item.querySelector('.sidebar-item-name input').value,
     item.querySelector('.sidebar-item-value-list').innerText.trim()])"""


def opened(visit: Visit, url: str) -> None:
    visit.page.add_init_script(KEEP_EVAL)
    visit.page.goto(url)
    visit.page.wait_for_selector("body.default g.node", timeout=60_000)


def find(visit: Visit, text: str) -> list[str]:
    """What Netron's search finds."""
    page = visit.page
    if not page.locator("#search").is_visible():
        page.keyboard.press("Control+f")
    page.fill("#search", text)
    return [item.strip() for item in page.locator(".sidebar-find-content li").all_inner_texts()]


def properties(visit: Visit, text: str) -> tuple[str, dict[str, str]]:
    """What Netron says of the first node found: the sidebar's text, and its fields by name."""
    assert find(visit, text)
    page = visit.page
    page.locator(".sidebar-find-content li").first.dblclick()
    page.wait_for_selector(".sidebar-item-name")
    return page.inner_text("#sidebar"), dict(page.evaluate(FIELDS))


def test_netron_shows_what_onnxcomp_added(visit: Visit, compressed: Path) -> None:
    before = compressed.read_bytes()
    with viewer(compressed, "--no-browser") as (_, url):
        opened(visit, url)
        for beginning, op in (
            ("prune/", "Mul"),
            ("qat/", "QuantizeLinear"),
            ("teacher/", "Conv"),
            ("loss/", "Mul"),
        ):
            assert len([name for name in find(visit, beginning) if name.startswith(beginning)]) > 4, op
        text, fields = properties(visit, f"prune/{MASKED}")
        assert f"onnxcomp: added by prune: mask of {MASKED}; sparsity 75.0 %" in text
        assert {"pass": "prune", "role": "mask", "of": MASKED, "sparsity": "75.0 %"}.items() <= fields.items()
        visit.screenshot("netron-mask")
        _, fields = properties(visit, f"qat/{MASKED}/quantize")
        assert (fields["pass"], fields["role"], fields["type"]) == ("qat", "quantize", "int8")
        assert re.fullmatch(r"\S+ to \S+", fields["scale"])
        text, fields = properties(visit, "loss/task")
        assert "onnxcomp: added for training: task loss" in text
        assert fields["gone after"] == "finalize"
        assert visit.page.title() == "c.onnx"
        assert visit.foreign() == []
        assert visit.errors == []
        assert any(request.startswith(f"{url}data/model.onnx") for request in visit.requests)
    assert compressed.read_bytes() == before


def test_hostile_names_are_shown_and_not_obeyed(visit: Visit, tmp_path: Path) -> None:
    proto = zoo.mlp()
    proto.graph.node[1].name = HOSTILE
    proto.graph.node[1].doc_string = HOSTILE
    path = tmp_path / "m<img src=x>.onnx"
    onnx.save(proto, path)
    with viewer(path, "--no-browser") as (_, url):
        opened(visit, url)
        text, fields = properties(visit, "document.title")
        assert "<img src=x onerror=document.title='owned'>" in text
        assert fields["role"] == "layer"
        assert visit.page.title() == path.name
        assert visit.page.locator("img").count() == 0
        assert visit.foreign() == []
        assert visit.errors == []
        visit.screenshot("netron-hostile")


def test_ctrl_c_ends_it(network: Path) -> None:
    with viewer(network, "--no-browser") as (process, url):
        assert b"Netron" in fetched(url)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "ended\n", "")


def test_sigterm_ends_it_as_any_command(network: Path) -> None:
    with viewer(network, "--no-browser") as (process, _):
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (143, "", "Interrupted\n")


def test_without_a_browser_it_says_so_and_serves(network: Path) -> None:
    nowhere = {
        "BROWSER": "",
        "DISPLAY": "",
        "WAYLAND_DISPLAY": "",
        "SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22",
    }
    with viewer(network, **nowhere) as (process, url):
        assert b"Netron" in fetched(url)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert err == "no browser is opened: this is a session over SSH\n"


def test_the_user_s_browser_is_opened(network: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    script = tmp_path / "browser"
    script.write_text(f"#!/bin/sh\necho $1 >{seen}.part && mv {seen}.part {seen}\n", encoding="utf-8")
    script.chmod(0o755)
    with viewer(network, BROWSER=str(script)) as (process, url):
        for _ in range(100):
            if seen.exists() or process.poll() is not None:
                break
            time.sleep(0.1)
        assert seen.read_text(encoding="utf-8") == f"{url}\n"


def test_a_port_in_use_is_one_line(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = call(capsys, "view", network, "--port", port, "--no-browser")
    assert (code, out) == (2, "")
    expected = f"port {port} of 127.0.0.1 is in use; choose another, or leave it out for a free one"
    assert err == f"Error: --port: {expected}\n"


def test_the_port_asked_for_is_taken(network: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with viewer(network, "--no-browser", "--port", str(port)) as (_, url):
        assert url == f"http://127.0.0.1:{port}/"


@pytest.mark.parametrize("content", [b"hello", b"", zoo.mlp().SerializeToString()[:300]])
def test_a_damaged_file_is_one_line(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    code, out, err = call(capsys, "view", path, "--no-browser")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"Error: {path}: not an ONNX file")


@pytest.mark.parametrize("command", ["view", "inspect"])
def test_more_than_2_gb_of_external_data_is_one_line_at_once(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proto = zoo.mlp()
    weight = next(tensor for tensor in proto.graph.initializer if len(tensor.dims) == 2)
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="w.bin")
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(3 * 2**30)  # takes no room on the disk
    code, out, err = call(capsys, command, path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "3.00 GiB in external data" in err


@pytest.mark.parametrize("command", ["view", "inspect"])
def test_a_file_of_more_than_2_gb_is_one_line_at_once(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:
        file.truncate(3 * 2**30)
    code, out, err = call(capsys, command, path)
    assert (code, out) == (2, "")
    expected = "not an ONNX file: it has 3.00 GiB, and one holds less than 2 GiB; check the path"
    assert err == f"Error: {path}: {expected}\n"


def test_a_network_that_onnxcomp_does_not_take_is_shown(tmp_path: Path) -> None:
    proto = zoo.mlp()
    proto.graph.node[2].domain = "mine"
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    with viewer(path, "--no-browser") as (process, url):
        assert fetched(f"{url}data/model.onnx") == path.read_bytes()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert err.startswith(f"shown without marks: {path}: node ")


def test_of_many_nodes_it_says_that_the_page_takes_long(tmp_path: Path) -> None:
    proto = zoo.mlp()
    previous = proto.graph.output[0].name
    for index in range(1000):
        proto.graph.node.add(op_type="Relu", input=[previous], output=[f"more{index}"])
        previous = f"more{index}"
    proto.graph.output[0].name = previous
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    with viewer(path, "--no-browser") as (process, _):
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert err == "Netron places the nodes in the browser: of so many that takes a minute or more\n"


def test_without_netron_it_says_what_to_install(
    network: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "netron", None)
    code, out, err = call(capsys, "view", network)
    assert (code, out) == (2, "")
    assert err == "Error: netron: the package netron is not installed; run: pip install 'onnxcomp[view]'\n"
