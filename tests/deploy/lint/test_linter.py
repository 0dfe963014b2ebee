"""What onnxcomp itself writes passes."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from onnxcomp.deploy.finalize import finalize_report
from onnxcomp.deploy.lint import RULES, lint
from onnxcomp.deploy.targets import get_target
from onnxcomp.deploy.write import write
from onnxcomp.model import Model, from_proto, save
from onnxcomp.passes.base import Placement
from tests import classifiers, means, zoo
from tests.deploy.kinds import KINDS
from tests.deploy.networks import compressed

NETWORKS = [*zoo.ALL, *zoo.MORE, *classifiers.NETWORKS]


@cache
def quantized(name: str, placement: Placement) -> Model:
    build = classifiers.NETWORKS.get(name) or (lambda: from_proto({**zoo.ALL, **zoo.MORE}[name]()))
    text = "qat{concat=shared}" if name in classifiers.NETWORKS else "qat"  # quicker than the choice
    return compressed(build(), text, placement=placement)


DEEP = ("densenet121", "densenet201")
ON = [(name, target) for name in NETWORKS for target in (("xavier", "ort-cpu") if name in DEEP else KINDS)]


@pytest.mark.parametrize(("name", "target"), ON)
def test_what_is_finalized_for_a_target_passes(name: str, target: str, tmp_path: Path) -> None:
    chosen = get_target(target)
    path = tmp_path / "d.onnx"
    write(*finalize_report(quantized(name, chosen.placement), chosen), path)
    run = name in ("densenet", "mobilenet") and target in ("orin", "ort-cpu")
    report = lint(path, chosen, run=run)
    assert not [one for one in report.findings if one.severity == "error"]
    assert not run or report.notes[-1].endswith(" runs it")
    assert report.int8 is not None
    if chosen.placement == "tensorrt" and not chosen.dla:
        assert (report.int8.integer, report.int8.floats) == (report.int8.total, ())
    assert report.int8.total > 0


@pytest.mark.parametrize("target", ["xavier", "orin", "ort-cpu"])
@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("name", ["resnet", "mobilenet", "densenet"])
def test_a_mean_instead_of_pooling_leaves_nothing_to_say(
    name: str, opset: int, target: str, tmp_path: Path
) -> None:
    chosen = get_target(target)
    model = from_proto(means.with_mean(zoo.ALL[name](opset)))
    path = tmp_path / "d.onnx"
    write(*finalize_report(compressed(model, "qat", placement=chosen.placement), chosen), path)
    assert lint(path, chosen, run=target == "ort-cpu").findings == ()


@pytest.mark.parametrize(
    ("target", "others"),
    [
        ("orin", ("xavier", "int8-weight")),
        ("ort-cpu", ("orin", "integer-type")),
        ("xavier", ("xavier-dla", "dla-pairs")),
    ],
)
def test_what_is_for_another_target_does_not(target: str, others: tuple[str, str], tmp_path: Path) -> None:
    chosen, (other, rule) = get_target(target), others
    path = tmp_path / "d.onnx"
    write(*finalize_report(quantized("resnet", chosen.placement), chosen), path)
    assert rule in {
        one.rule for one in lint(path, get_target(other), run=False).findings if one.severity == "error"
    }


def test_a_compression_form_is_told_to_be_finalized(tmp_path: Path) -> None:
    path = tmp_path / "c.onnx"
    save(compressed(from_proto(zoo.resnet()), "prune,qat"), path)
    found = [one for one in lint(path, get_target("xavier"), run=False).findings if one.severity == "error"]
    assert {one.rule for one in found} == {"computed-weight", "operator"}  # masks, and the loss
    assert next(one.fix for one in found if one.rule == "computed-weight").startswith("finalize it")


def test_a_plain_network_has_no_int8(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save(from_proto(zoo.resnet()), path)
    assert lint(path, get_target("xavier"), run=False).int8 is None


def test_errors_come_first(tmp_path: Path) -> None:
    path = tmp_path / "d.onnx"
    write(*finalize_report(quantized("mobilenet_v3", "ort-cpu"), get_target("ort-cpu")), path)
    severities = [one.severity for one in lint(path, get_target("xavier"), run=False).findings]
    assert severities == sorted(severities)
    assert set(severities) == {"error", "warning"}


def test_rules_have_names_of_their_own_and_say_everything() -> None:
    counts = Counter((rule.name, rule.scope.runtime == "ort-cpu") for rule in RULES)
    assert set(counts.values()) == {1}
    for rule in RULES:
        assert rule.why
        assert rule.fix
        assert not rule.fix.endswith(".")
