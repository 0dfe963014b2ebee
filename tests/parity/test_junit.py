from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from onnxcomp.parity.checks import Check
from onnxcomp.parity.junit import write_junit

CHECKS = (
    Check("top-1 drop", "at most 0.5", "0.1 points"),
    Check("layers", "* 10 dB", "1 below", 'node <b>&"\x1b[31m\x00 is below'),
)


def test_each_check_is_a_test_case(tmp_path: Path) -> None:
    write_junit(tmp_path / "j.xml", CHECKS, suite="d.onnx against m.onnx", seconds=1.25)
    root = ElementTree.parse(tmp_path / "j.xml").getroot()  # noqa: S314  our own file
    (suite,) = root
    for element in (root, suite):
        assert {key: element.get(key) for key in ("tests", "failures", "errors", "time")} == {
            "tests": "2",
            "failures": "1",
            "errors": "0",
            "time": "1.250",
        }
    first, second = suite
    assert (first.get("name"), first.get("classname")) == ("top-1 drop", "d.onnx against m.onnx")
    assert first.find("failure") is None
    assert first.findtext("system-out") == "found 0.1 points; asked for at most 0.5"
    failure = second.find("failure")
    assert failure is not None
    # what XML has no way to write is replaced, the rest comes back as it was
    assert failure.get("message") == failure.text == 'node <b>&"\ufffd[31m\ufffd is below'
