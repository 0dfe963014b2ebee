"""What lint found, as data and as rows of a table."""

from __future__ import annotations

from dataclasses import dataclass

from onnxcomp.deploy.lint.rule import Finding, Severity

EXAMPLES = 3


@dataclass(frozen=True)
class Where:
    """How much runs in INT8.

    Attributes:
        integer: layers, or for ONNX Runtime operators, that do.
        total: of how many.
        floats: names of the others.
    """

    integer: int
    total: int
    floats: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Equal findings.

    Attributes:
        rule, severity, what, why, fix: theirs.
        nodes: names of all nodes; empty for the file as a whole.
    """

    rule: str
    severity: Severity
    what: str
    why: str
    fix: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What lint says of one file for one target.

    Attributes:
        target: its name.
        description: device and runtime.
        findings: errors first, in the order of the rules.
        int8: None where the file is not quantised.
        notes: what was run, and what could not be looked at.
    """

    target: str
    description: str
    findings: tuple[Finding, ...]
    int8: Where | None
    notes: tuple[str, ...]

    @property
    def errors(self) -> int:
        """Number of errors, one for each node."""
        return sum(one.severity == "error" for one in self.findings)

    @property
    def warnings(self) -> int:
        return len(self.findings) - self.errors

    def groups(self) -> list[Group]:
        """Equal findings together, in order."""
        found: dict[tuple[str, str], list[Finding]] = {}
        for one in self.findings:
            found.setdefault((one.rule, one.what), []).append(one)
        return [
            Group(
                ones[0].rule,
                ones[0].severity,
                ones[0].what,
                ones[0].why,
                ones[0].fix,
                tuple(one.node for one in ones if one.node),
            )
            for ones in found.values()
        ]


COLUMNS = ("rule", "severity", "nodes", "what", "where")


def rows(report: Report) -> list[tuple[str, ...]]:
    """Cells for :data:`COLUMNS`, a row for each group."""
    return [
        (group.rule, group.severity, str(len(group.nodes) or "-"), group.what, some(group.nodes))
        for group in report.groups()
    ]


def advice(report: Report) -> list[str]:
    """For each rule that is broken how to mend it and why, a line each."""
    rules = {one.rule: one for one in report.findings}
    return [line for one in rules.values() for line in (f"{one.rule}: {one.fix}", f"  why: {one.why}")]


def summary(report: Report) -> list[str]:
    """How much is INT8, what was run, and how many findings there are."""
    lines = list(report.notes)
    if report.int8 is not None:
        text = f"INT8: {report.int8.integer} of {report.int8.total}"
        floats = f"; float: {some(report.int8.floats)}" if report.int8.floats else ""
        lines.append(f"{text} {_unit(report)}{floats}")
    return [*lines, f"{_count(report.errors, 'error')}, {_count(report.warnings, 'warning')}"]


def _unit(report: Report) -> str:
    return "operators" if report.target == "ort-cpu" else "layers with weights"


def _count(number: int, kind: str) -> str:
    return f"{number} {kind}{'' if number == 1 else 's'}"


def some(names: tuple[str, ...]) -> str:
    """The first few names."""
    return ", ".join(names[:EXAMPLES]) + (", ..." if len(names) > EXAMPLES else "")
