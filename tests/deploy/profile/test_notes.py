"""What a reader must know."""

from __future__ import annotations

from onnxcomp.deploy.profile.layer import Layer
from onnxcomp.deploy.profile.nodes import Held, Names
from onnxcomp.deploy.profile.notes import notes_of
from onnxcomp.deploy.trtexec.exports.layers import EngineLayers
from onnxcomp.deploy.trtexec.log import Summary, Times
from tests.deploy.profile.network import profile

DETAILED = EngineLayers(True, (), ())
SUMMARY = Summary(gpu=Times(mean=2.0))
NO_NAMES = Names({})


def said(*layers: Layer, held: tuple[Held, ...] = (), names: Names | None = NO_NAMES) -> tuple[str, ...]:
    return notes_of(SUMMARY, DETAILED, layers, held or tuple(Held() for _ in layers), names)


def test_nothing_to_say() -> None:
    assert said() == ()


def test_what_is_missing() -> None:
    first, second = notes_of(None, None, (), (), NO_NAMES)
    assert first.startswith("trtexec printed no summary")
    assert "--profilingVerbosity=detailed" in second


def test_the_sum_is_not_the_whole() -> None:
    (note,) = said(Layer("a", ms=1.5), Layer("b", ms=1.5))
    assert note == (
        "the layers add up to 3.000 ms, 1.50 times the GPU time of a run (2.000 ms): each is timed alone; "
        "trust their shares, not their sum"
    )


def test_layers_without_a_time() -> None:
    assert said(Layer("a")) == ("layers without a time: 1 of 1",)


def test_sparse_weights_that_bring_nothing() -> None:
    dense = Layer("a", ms=1, sparse=True, sparse_kernel=False)
    (_, note) = said(dense, dense)
    assert note == "2 layers have 2:4 sparse weights and none a sparse kernel: the zeros bring no speed here"
    assert len(said(dense, Layer("b", ms=1, sparse=True, sparse_kernel=True))) == 1


def test_floats_written_by_int8_layers() -> None:
    layers = [Layer(name, ms=1, float_output=True) for name in "abcde"]
    assert (
        said(*layers)[1]
        == "layers that compute in INT8 but write floats, which is slower: a, b, c and 2 more"
    )


def test_what_is_uncertain_of_the_nodes() -> None:
    held = (Held(("a", "b"), ends=True, unknown=("q",)), Held(("b",)))
    names = Names({"a": ("Relu", "Add"), "b": ("Conv",)})
    notes = said(Layer("l", ms=1, ends=True), Layer("m", ms=1), held=held, names=names)
    assert notes[1:] == (
        "only the first and last node are known of: l",
        "nodes that several layers hold: b",
        "names that several nodes of the ONNX file have: a",
        "names in layers that the ONNX file does not have: q",
    )


def test_nodes_guessed_from_names_are_said_to_be() -> None:
    guess = "the ONNX file was not at hand: parts of a layer's name may be weights, not nodes"
    assert said(Layer("l", ms=1), held=(Held(("a",)),), names=None)[1:] == (guess,)
    assert said(Layer("l", ms=1), held=(Held(("a",), listed=True),), names=None)[1:] == ()


def test_the_samples() -> None:
    assert [note.split()[0] for note in profile("8.5").notes] == ["the", "layers", "2", "layers"]
    assert [note.split()[0] for note in profile("11").notes] == ["the", "layers"]
