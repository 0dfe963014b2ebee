"""Pairs of hidden tensors: found by stages, or given by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from onnxcomp import model as models
from onnxcomp import pipeline
from onnxcomp import recipe as recipes
from onnxcomp.errors import PassError
from onnxcomp.passes.distill.ends import stage_ends
from onnxcomp.passes.distill.pairing import embedding
from tests import zoo
from tests.builder import Builder, conv

SIZE = 16


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    path = tmp_path / "teacher.onnx"
    models.save(models.from_proto(zoo.resnet(size=SIZE)), path)
    return path


def notes(options: str, network: str = "densenet") -> list[str]:
    model = models.from_proto(zoo.ALL[network](size=SIZE))
    steps: list[pipeline.Step] = []
    pipeline.apply(model, recipes.parse(f"distill{{{options}}}"), report=steps.append)
    return [*steps[0].change.notes]


def test_the_last_stages_are_paired_with_the_last(teacher: Path) -> None:
    student = stage_ends(models.from_proto(zoo.densenet(size=SIZE)).graph)
    others = stage_ends(models.load(teacher).graph)
    count = min(len(student), len(others))
    assert count >= 2
    found = notes(f'teacher="{teacher}"')
    header = next(index for index, line in enumerate(found) if line.startswith("student"))
    rows = [line.split("  ") for line in found[header + 1 :]]
    named = [[cell.strip().split(" ")[0] for cell in row if cell.strip()][:2] for row in rows]
    assert named == [
        [own.name, other.name] for own, other in zip(student[-count:], others[-count:], strict=True)
    ]


def test_pairs_by_the_names_of_tensors_and_of_nodes(teacher: Path) -> None:
    student = models.from_proto(zoo.densenet(size=SIZE)).graph
    other = models.load(teacher).graph
    own, node = stage_ends(student)[-1], stage_ends(other)[-1].inputs[0]
    text = f'teacher="{teacher}" pairs=[["{own.name}","{node.outputs[0].name}"]]'
    by_tensor = notes(text)
    assert own.name in by_tensor[-1]
    assert node.outputs[0].name in by_tensor[-1]
    by_node = notes(f'teacher="{teacher}" pairs=[["{own.inputs[0].name}","{node.name}"]]')
    assert own.name in by_node[-1]


@pytest.mark.parametrize(("own", "other", "whose"), [("?", "ok", "student"), ("ok", "?", "teacher")])
def test_a_tensor_that_does_not_exist_is_refused_with_the_nearest(
    teacher: Path, own: str, other: str, whose: str
) -> None:
    student = stage_ends(models.from_proto(zoo.densenet(size=SIZE)).graph)[-1].name
    end = stage_ends(models.load(teacher).graph)[-1].name
    names = [student if own == "ok" else student + "x", end if other == "ok" else end + "x"]
    wrong = names[0] if own == "?" else names[1]
    with pytest.raises(PassError, match=f"the {whose} has no tensor or node") as caught:
        notes(f'teacher="{teacher}" pairs=[["{names[0]}","{names[1]}"]]')
    assert wrong in caught.value.what
    assert caught.value.fix.startswith("did you mean")
    assert wrong[:-1] in caught.value.fix


def test_a_tensor_of_another_rank_is_refused(teacher: Path) -> None:
    student = stage_ends(models.from_proto(zoo.densenet(size=SIZE)).graph)[-1].name
    weight = next(iter(models.load(teacher).constants()))
    with pytest.raises(PassError, match="the teacher has no tensor or node"):
        notes(f'teacher="{teacher}" pairs=[["{student}","{weight}"]]')  # a constant is no hidden tensor


@pytest.mark.parametrize("network", ["densenet", "resnet", "mobilenet"])
def test_the_embedding_is_what_the_classifier_reads(network: str) -> None:
    model = models.from_proto(zoo.ALL[network](size=SIZE))
    found = embedding(model.logits, lambda node: True)
    assert found is not model.logits
    assert len(found.shape) == 2
    assert any(node.op in ("Gemm", "MatMul") for node in found.outputs)


def classified(head: Callable[[Builder, str], str]) -> models.Model:
    """A network of which ``head`` makes logits of (N, 8, H, W)."""
    net = Builder(0)
    return models.from_proto(net.model(head(net, conv(net, "input", "a", 3, 8)), 17, ("N", 3, SIZE, SIZE), 4))


def by_convolution(net: Builder, x: str) -> str:
    pooled = net.node("GlobalAveragePool", [x], "pooled")
    return net.node("Flatten", [conv(net, pooled, "head", 8, 4, kernel=1)], "flat")


def bias_first(net: Builder, x: str) -> str:
    pooled = net.node("Flatten", [net.node("GlobalAveragePool", [x], "pool")], "pooled")
    product = net.node("MatMul", [pooled, net.constant("w", net.he(8, 4))], "product")
    return net.node("Add", [net.constant("b", net.small(4)), product], "biased")


def before_pooling(net: Builder, x: str) -> str:
    maps = conv(net, x, "head", 8, 4, kernel=1)
    return net.node("Flatten", [net.node("GlobalAveragePool", [maps], "pool")], "flat")


@pytest.mark.parametrize(
    ("head", "name"), [(by_convolution, "pooled"), (bias_first, "pooled"), (before_pooling, "output")]
)
def test_the_embedding_of_other_classifiers(head: Callable[[Builder, str], str], name: str) -> None:
    """A convolution at all positions, pooled afterwards, reads no embedding: the logits are taken."""
    model = classified(head)
    found = embedding(model.logits, lambda node: True)
    assert found.name == (name if name == "pooled" else model.logits.name)


def test_attention_leaves_out_what_has_one_position(teacher: Path) -> None:
    own = stage_ends(models.from_proto(zoo.densenet(size=SIZE)).graph)
    other = stage_ends(models.load(teacher).graph)
    logits = ("output", "output")
    pairs = f'pairs=[["{own[-1].name}","{other[-1].name}"],["{logits[0]}","{logits[1]}"]]'
    *_, positions, single = notes(f'teacher="{teacher}" boundary=0 attention=1 {pairs}')
    assert "not in attention" not in positions
    assert single.endswith("not in attention: one position")
    only = f'pairs=[["{logits[0]}","{logits[1]}"]]'
    assert "no attention: no pair has more than one position, and a map of one is always the same" in notes(
        f'teacher="{teacher}" boundary=0 attention=1 {only}'
    )
    stages = 'stages=[{"losses":{"attention":1},"steps":1},{"losses":{"task":1}}]'
    with pytest.raises(PassError, match="has no loss left"):
        notes(f'teacher="{teacher}" {stages} {only}')


def test_an_ensemble_is_compared_inside_by_its_first(teacher: Path) -> None:
    line = "inside, it is compared with the first teacher alone, "
    both = f'teacher=["{teacher}","{teacher}"]'
    assert any(text.startswith(line) for text in notes(both))
    assert not any(text.startswith(line) for text in notes(f"{both} boundary=0"))
