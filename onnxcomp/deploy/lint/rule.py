"""What a rule of lint is: for which targets it holds, what it finds, why, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from onnxcomp.deploy.lint.network import Network
from onnxcomp.deploy.targets import Target

Severity = Literal["error", "warning"]
Runtime = Literal["tensorrt", "gpu", "dla", "ort-cpu"]
NEVER = (1000,)


@dataclass(frozen=True)
class Scope:
    """The targets that a rule holds for.

    Attributes:
        runtime: ``tensorrt`` with its parser, on whatever device; ``gpu`` and ``dla``, what TensorRT builds
            there; ``ort-cpu``, ONNX Runtime.
        since: first version of TensorRT.
        before: first version for which it holds no more.
    """

    runtime: Runtime
    since: tuple[int, ...] = (0,)
    before: tuple[int, ...] = NEVER

    def covers(self, target: Target) -> bool:
        """Whether the rule holds for ``target``."""
        if target.tensorrt is None:
            return self.runtime == "ort-cpu"
        runtimes = ("tensorrt", "dla" if target.dla else "gpu")
        return self.runtime in runtimes and self.since <= target.tensorrt < self.before


@dataclass(frozen=True)
class Hit:
    """A place that breaks a rule.

    Attributes:
        node: its name; "" for the whole file.
        what: what is so there; equal texts are shown together.
    """

    node: str
    what: str


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        name: as reports call it.
        severity: an error is a file that the target refuses or computes otherwise than meant; a warning one
            that it takes but runs slower, or that may not run on every version.
        scope: for which targets.
        why: what the target does, and the source.
        fix: what the user can do.
        check: finds the places.
    """

    name: str
    severity: Severity
    scope: Scope
    why: str
    fix: str
    check: Callable[[Network, Target], Iterator[Hit]]


@dataclass(frozen=True)
class Finding:
    """A rule that is broken at one place; for the fields see :class:`Rule` and :class:`Hit`."""

    rule: str
    severity: Severity
    node: str
    what: str
    why: str
    fix: str


def findings(rule: Rule, network: Network, target: Target) -> list[Finding]:
    """What ``rule`` finds, if it holds for ``target``."""
    if not rule.scope.covers(target):
        return []
    hits = dict.fromkeys(rule.check(network, target))  # a node of two branches is one
    return [Finding(rule.name, rule.severity, hit.node, hit.what, rule.why, rule.fix) for hit in hits]
