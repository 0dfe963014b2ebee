from __future__ import annotations

from pathlib import Path

import pytest

from onnxcomp.deploy.lint.network import read
from onnxcomp.deploy.lint.rule import Finding, Hit, Rule, Scope, findings
from onnxcomp.deploy.targets import get_target
from tests.deploy.kinds import KINDS
from tests.deploy.lint.networks import good


@pytest.mark.parametrize(
    ("scope", "names"),
    [
        (Scope("tensorrt"), {"xavier", "xavier-dla", "orin", "orin-dla", "tensorrt-11"}),
        (Scope("tensorrt", before=(10,)), {"xavier", "xavier-dla"}),
        (Scope("tensorrt", since=(10,)), {"orin", "orin-dla", "tensorrt-11"}),
        (Scope("tensorrt", since=(8, 6), before=(11,)), {"orin", "orin-dla"}),
        (Scope("gpu"), {"xavier", "orin", "tensorrt-11"}),
        (Scope("dla", before=(8, 6)), {"xavier-dla"}),
        (Scope("ort-cpu"), {"ort-cpu"}),
    ],
)
def test_scopes(scope: Scope, names: set[str]) -> None:
    assert {name for name, target in KINDS.items() if scope.covers(target)} == names


def test_findings_are_those_of_the_scope_and_come_once(tmp_path: Path) -> None:
    network = read(good().save(tmp_path))
    rule = Rule("r", "error", Scope("gpu"), "why", "fix", lambda _, target: iter([Hit("n", target.name)] * 2))
    assert findings(rule, network, get_target("orin")) == [Finding("r", "error", "n", "orin", "why", "fix")]
    assert findings(rule, network, get_target("ort-cpu")) == []
