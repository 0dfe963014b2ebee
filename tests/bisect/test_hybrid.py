from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxcomp import runtime
from onnxcomp.bisect.hybrid import CANDIDATE, REFERENCE, Hybrids
from onnxcomp.model import Model
from tests import pictures, zoo
from tests.bisect.faults import SHARED, int8

IMAGES = np.random.default_rng(1).standard_normal((4, 3, 16, 16), dtype=np.float32)


def run(data: bytes, image: str) -> list[np.ndarray]:
    session = runtime.session_of_proto(data, threads=1, integer=False, optimize=False)
    found: list[np.ndarray] = session.run(None, {image: IMAGES})
    return found


def answers(model: Model) -> np.ndarray:
    session = runtime.session(model, threads=1, integer=False, optimize=False)
    found: np.ndarray = session.run(None, {model.image.name: IMAGES})[0]
    return found


@pytest.mark.parametrize("name", zoo.ALL)
@pytest.mark.parametrize("target", ["xavier", "orin", "ort-cpu"])
def test_the_ends_are_the_networks_themselves(name: str, target: str) -> None:
    """Bit for bit: nothing is fused in these sessions, and what is added changes no value."""
    reference, candidate = int8(name, target)
    hybrids = Hybrids(reference, candidate)
    names = [match.tensor for match in hybrids.shared]
    assert len(names) >= 3
    assert names[-1] == hybrids.logits == reference.logits.name
    np.testing.assert_array_equal(run(hybrids.network(names), hybrids.image)[0], answers(reference))
    np.testing.assert_array_equal(run(hybrids.network([]), hybrids.image)[0], answers(candidate))


DENSENET = Hybrids(*(pictures.network("densenet") for _ in range(2)))
EXPECTED = answers(pictures.network("densenet"))


@settings(max_examples=25)
@given(st.sets(st.sampled_from([match.tensor for match in DENSENET.shared])))
def test_any_mixture_of_equal_networks_is_that_network(chosen: set[str]) -> None:
    np.testing.assert_array_equal(run(DENSENET.network(chosen), DENSENET.image)[0], EXPECTED)


@pytest.mark.parametrize("name", ["resnet", "densenet", "mobilenet"])
def test_pieces_are_fed_with_the_other_sides_tensors(name: str) -> None:
    """The first piece of each side, on the image, against sessions of the networks themselves."""
    reference, candidate = int8(name)
    hybrids = Hybrids(reference, candidate)
    names = [match.tensor for match in hybrids.shared]
    outputs = [f"{side}{names[0]}" for side in (REFERENCE, CANDIDATE)]
    first, second = run(hybrids.network(names, outputs), hybrids.image)
    for model, found in ((reference, first), (candidate, second)):
        session = runtime.session(model, outputs=[names[0]], threads=1, integer=False, optimize=False)
        np.testing.assert_array_equal(session.run(None, {model.image.name: IMAGES})[0], found)


def test_what_is_held_in_integers_is_shown() -> None:
    """Each Concat of the shared form computes in integers, and is shown in float by the reference's name."""
    reference, candidate = int8("densenet", "ort-cpu", SHARED)
    concats = {node.outputs[0].name for node in reference.graph.nodes if node.op == "Concat"}
    assert concats
    assert not concats & set(candidate.graph.tensors())
    shared = {match.tensor: match for match in Hybrids(reference, candidate).shared}
    assert concats <= set(shared)
    assert {shared[name].op for name in concats} == {"Concat"}


def test_opsets_and_names_may_differ() -> None:
    reference, candidate = pictures.network("resnet", opset=13), pictures.network("resnet", opset=17)
    candidate.image.name, candidate.logits.name = "picture", "answer"
    hybrids = Hybrids(reference, candidate)
    names = [match.tensor for match in hybrids.shared]
    np.testing.assert_array_equal(
        run(hybrids.network(names[: len(names) // 2]), hybrids.image)[0], answers(candidate)
    )
    assert reference.graph.opset == 13
