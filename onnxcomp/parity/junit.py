"""Checks as a JUnit file, which CI servers show test by test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from onnxcomp import files
from onnxcomp.parity.checks import Check


def write_junit(path: Path, checks: Sequence[Check], *, suite: str, seconds: float) -> None:
    """Write one test case for each check.

    Args:
        suite: what was validated; every case's class name.
        seconds: that the whole validation took.

    Raises:
        OnnxcompError: the file cannot be written.
    """
    failed = sum(not check.passed for check in checks)
    attributes = {
        "name": "onnxcomp validate",
        "tests": str(len(checks)),
        "failures": str(failed),
        "errors": "0",
        "skipped": "0",
        "time": f"{seconds:.3f}",
    }
    root = ElementTree.Element("testsuites", attributes)
    group = ElementTree.SubElement(root, "testsuite", attributes)
    for check in checks:
        case = ElementTree.SubElement(group, "testcase", name=check.name, classname=suite, time="0")
        if not check.passed:
            failure = ElementTree.SubElement(
                case, "failure", message=_plain(check.failure), type="AssertionError"
            )
            failure.text = _plain(check.failure)
        output = ElementTree.SubElement(case, "system-out")
        output.text = _plain(f"found {check.found}; asked for {check.asked}")
    ElementTree.indent(root)
    with files.atomic_path(path) as temporary:
        ElementTree.ElementTree(root).write(temporary, encoding="utf-8", xml_declaration=True)


def _plain(text: str) -> str:
    """Without the control characters that XML 1.0 has no way to write; a node's name may hold them."""
    return "".join(char if char.isprintable() or char in "\t\n" else "\ufffd" for char in text)
