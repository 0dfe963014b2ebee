from __future__ import annotations

import re

import pytest

pytest.importorskip("netron", reason="the package netron is not installed")

from onnxcomp.view.page import asset, folder, page


def metas(text: str) -> dict[str, str]:
    return dict(re.findall(r'<meta name="(\w+)" content="([^"]*)">', text))


def test_netron_s_page_opens_the_network_and_reports_nothing() -> None:
    source = (folder() / "index.html").read_text(encoding="utf-8")
    found = metas(page(source, "/data/model.onnx", "m.onnx").decode())
    assert "date" in metas(source)  # what makes Netron ask for an update and send nothing else
    assert "date" not in found
    assert found["version"] == "0.0.0"
    assert (found["file"], found["identifier"]) == ("/data/model.onnx", "m.onnx")


def test_a_file_s_name_is_text() -> None:
    text = page("<title>x</title>", "/d", '"><script>alert(1)</script>').decode()
    assert "<script>" not in text
    assert "&quot;&gt;&lt;script&gt;" in text
    assert metas(text)["identifier"].endswith(".onnx")


@pytest.mark.parametrize(
    "path",
    ["/../server.py", "/server.py", "/..", "/", "/a/b.js", "/none.js", "/..\\view.js", "/\0.js", "//view.js"],
)
def test_nothing_but_netron_s_page_is_an_asset(path: str) -> None:
    assert asset(folder(), path) is None


def test_its_files_are() -> None:
    found = asset(folder(), "/view.js")
    assert found == ("text/javascript", (folder() / "view.js").read_bytes())
