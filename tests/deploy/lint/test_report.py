from __future__ import annotations

from onnxcomp.deploy.lint.report import Group, Report, Where, advice, rows, some, summary
from onnxcomp.deploy.lint.rule import Finding, Severity


def finding(rule: str, severity: Severity, node: str, what: str = "is so") -> Finding:
    return Finding(rule, severity, node, what, f"{rule} says so", f"mend {rule}")


REPORT = Report(
    "xavier",
    "a device",
    (
        *(finding("a", "error", f"n{index}") for index in range(5)),
        finding("a", "error", "m", "is otherwise"),
        finding("b", "warning", ""),
    ),
    Where(3, 5, ("f", "g")),
    ("ran",),
)


def test_equal_findings_are_one_row() -> None:
    assert rows(REPORT) == [
        ("a", "error", "5", "is so", "n0, n1, n2, ..."),
        ("a", "error", "1", "is otherwise", "m"),
        ("b", "warning", "-", "is so", ""),
    ]
    assert REPORT.groups()[1] == Group("a", "error", "is otherwise", "a says so", "mend a", ("m",))


def test_each_rule_is_explained_once() -> None:
    assert advice(REPORT) == ["a: mend a", "  why: a says so", "b: mend b", "  why: b says so"]


def test_summary() -> None:
    assert (REPORT.errors, REPORT.warnings) == (6, 1)
    assert summary(REPORT) == ["ran", "INT8: 3 of 5 layers with weights; float: f, g", "6 errors, 1 warning"]
    cpu = Report("ort-cpu", "a computer", (), Where(2, 2, ()), ())
    assert summary(cpu) == ["INT8: 2 of 2 operators", "0 errors, 0 warnings"]


def test_some() -> None:
    assert (some(()), some(("a", "b", "c")), some(("a", "b", "c", "d"))) == ("", "a, b, c", "a, b, c, ...")
