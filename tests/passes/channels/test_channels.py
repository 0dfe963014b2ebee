"""The pass: what it does to every network, what it says, and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp import graphs, pipeline
from onnxcomp import recipe as recipes
from onnxcomp.deploy.finalize import finalize_report
from onnxcomp.deploy.targets import get_target
from onnxcomp.errors import PassError, RecipeError
from onnxcomp.gradients import ImageGradients
from onnxcomp.grams import ImageGrams
from onnxcomp.macs import total
from onnxcomp.model import Model, Role, from_proto, to_proto
from onnxcomp.passes.base import Array
from onnxcomp.passes.channels import Channels, find, scores
from onnxcomp.passes.channels.masks import close, closed
from tests import classifiers, run, zoo
from tests.builder import Builder, conv
from tests.passes.channels.small import CLASSES, check, classifier, ending, gemm, zeroed
from tests.training import networks

EVERY: dict[str, Callable[[], Model]] = {
    **classifiers.NETWORKS,
    **{f"folded {name}": network for name, network in classifiers.FOLDED.items()},
}


def apply(model: Model, text: str, **sources: Any) -> tuple[Model, tuple[str, ...]]:
    """What the recipe makes of ``model``, and the notes of its last pass."""
    steps: list[pipeline.Step] = []
    result = pipeline.apply(model, recipes.parse(text), report=steps.append, **sources)
    return result, steps[-1].change.notes


def widths(model: Model) -> dict[str, int]:
    return {w.name: int(w.tensor.shape[w.axis]) for w in graphs.weights(model.graph)}


def parameters(model: Model) -> int:
    return sum({w.name: w.tensor.values.size for w in graphs.weights(model.graph)}.values())


def logits(model: Model, images: np.ndarray) -> np.ndarray:
    return run.logits(model, images)


def assert_as_zeroed(before: Model, after: Model, channels: Channels) -> None:
    """``after`` answers like ``before`` with what magnitude chooses set to 0, to 1e-5 of the largest."""
    given = before.copy()
    given.given["alignment"] = after.given["alignment"]
    selection = channels.selection(given)
    gone = selection.choose(scores.magnitude(before.graph, selection.dependencies))
    assert gone is not None
    assert gone.size
    images = run.images(before, 2)
    expected = logits(zeroed(before, selection.dependencies, gone.tolist()), images)
    np.testing.assert_allclose(logits(after, images), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", EVERY)
def test_every_network_at_60_percent_of_its_work(name: str) -> None:
    before = EVERY[name]()
    after, notes = apply(before, "channels{macs=0.6 align=2}")
    work = (total(before.graph), total(after.graph))
    assert None not in work
    assert (work[1] or 0) <= 0.6 * (work[0] or 0)
    assert after.given == {"macs": work[0], "parameters": parameters(before), "alignment": 2}
    for weight, width in widths(after).items():
        assert width == widths(before)[weight] or (width % 2 == 0 and width > 0)
    assert re.fullmatch(r"[\d,]+ of [\d,]+ channels removed, in \d+ of \d+ groups of layers", notes[0])
    assert notes[1].startswith(f"multiply-accumulates {work[0]:,} -> {work[1]:,} (")
    assert notes[2].startswith(f"parameters {parameters(before):,} -> {parameters(after):,} (")
    assert any(note.startswith("kept: ") and "is an output of the network" in note for note in notes)
    assert_as_zeroed(before, after, Channels(macs=0.6, align=2))
    if name in ("resnet18", "mobilenet_v2", "vit"):
        check(after)


@pytest.mark.parametrize("name", zoo.ALL | zoo.MORE)
def test_zoo_at_its_defaults_but_for_the_alignment(name: str) -> None:
    before = from_proto((zoo.ALL | zoo.MORE)[name]())
    bytes_before = to_proto(before)
    after, notes = apply(before, "channels{align=2}")
    assert to_proto(before) == bytes_before
    assert_as_zeroed(before, after, Channels(align=2))
    gone, every = map(int, re.findall(r"\d+", notes[0])[:2])
    assert every == sum(len(group.ids) for group in find(before.graph).groups)
    assert 0.5 * every <= gone < every


def test_the_file_says_all_that_later_steps_need() -> None:
    after, _ = apply(from_proto(zoo.resnet()), "channels{align=4}")
    again = from_proto(to_proto(after))
    assert again.recipe == "channels{align=4}"
    assert again.given == after.given
    assert again.roles == after.roles
    assert set(again.roles.values()) == {Role.TRAINABLE}


@pytest.mark.parametrize(
    ("option", "alignment", "expected"),
    [("", 1, 8), ("", 4, 4), ("", 16, 16), ("align=4", 16, 4), ("align=1", 16, 1)],
)
def test_widths_are_the_targets_but_for_the_option(option: str, alignment: int, expected: int) -> None:
    before = classifiers.NETWORKS["resnet18"]()
    after, _ = apply(before, f"channels{{sparsity=0.3 {option}}}", alignment=alignment)
    assert after.given["alignment"] == expected
    changed = [width for name, width in widths(after).items() if width != widths(before)[name]]
    assert changed
    assert all(width % expected == 0 for width in changed)
    assert any(width % (2 * expected) for width in changed)


def test_uniform_and_global() -> None:
    before = classifiers.NETWORKS["resnet18"]()
    uniform, _ = apply(before, "channels{allocation=uniform align=1}")
    for name, width in widths(uniform).items():
        assert name == "fc.weight" or width == widths(before)[name] / 2
    ranked, _ = apply(before, "channels{align=1}")
    assert len({width / widths(before)[name] for name, width in widths(ranked).items()}) > 4


def test_excluded_layers_keep_their_width_by_name_and_by_node() -> None:
    before = from_proto(zoo.densenet())
    after, notes = apply(before, 'channels{align=1 exclude=["*conv1.weight","/features/conv0/Conv"]}')
    for name, width in widths(after).items():
        held = name.endswith("conv1.weight") or name == "features.conv0.weight"
        assert (width == widths(before)[name]) == (held or name == "classifier.weight"), name
    line = next(note for note in notes if note.endswith("(excluded)"))
    assert line.startswith("kept: features.conv0.weight, features.denseblock1.denselayer1.conv1.weight")


def test_one_excluded_layer_holds_all_that_share_its_width() -> None:
    before = from_proto(zoo.resnet())
    after, _ = apply(before, 'channels{align=1 exclude="onnx::Conv_127"}')
    assert [widths(after)[f"onnx::Conv_{number}"] for number in (123, 127)] == [12, 12]


def test_seeds() -> None:
    def cut(seed: int) -> bytes:
        after, _ = apply(from_proto(zoo.resnet()), f"channels{{criterion=random align=1 seed={seed}}}")
        return to_proto(after).SerializeToString()

    assert cut(1) == cut(1) != cut(2)


class Sources:
    """Grams and gradients of random images, as --data gives them, and who asked."""

    def __init__(self, model: Model, count: int = 16) -> None:
        rng = np.random.default_rng(3)
        batches = [(image[None], rng.integers(0, model.num_classes, 1)) for image in run.images(model, count)]
        self.asked: list[str] = []
        self._grams = ImageGrams(lambda: [image for image, _ in batches], threads=1)
        self._gradients = ImageGradients(lambda: batches, 1, threads=1)

    def grams(self, model: Model, layers: Sequence[graphs.Weight]) -> dict[str, Array]:
        self.asked.append("grams")
        return self._grams.grams(model, layers)

    def per_batch(self, model: Model, names: Sequence[str]) -> Iterator[Mapping[str, Array]]:
        self.asked.append("gradients")
        return self._gradients.per_batch(model, names)


@pytest.mark.parametrize("criterion", ["taylor", "obd"])
def test_gradients_say_which_channels_go(criterion: Literal["taylor", "obd"]) -> None:
    before = from_proto(zoo.resnet(size=networks.SIZE))
    sources = Sources(before)
    text = f"channels{{criterion={criterion} align=1 reconstruct=false}}"
    after, _ = apply(before, text, grams=sources, gradients=sources)
    assert sources.asked == ["gradients"]
    channels, dependencies = Channels(criterion=criterion, align=1), find(before.graph)
    readers = scores.readers(before.graph, dependencies)
    constants = before.constants()
    values = {name: constants[name].values for name, _, _ in readers}
    gates = [
        scores.gates(values, found, readers, dependencies.size)
        for found in Sources(before).per_batch(before, list(values))
    ]
    given = before.copy()
    given.given["alignment"] = 1
    gone = channels.selection(given).choose(scores.mean(criterion, gates))
    assert gone is not None
    images = run.images(before)
    expected = logits(zeroed(before, dependencies, gone.tolist()), images)
    np.testing.assert_allclose(logits(after, images), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_real_images_reconstruct_unless_told_not_to() -> None:
    before = from_proto(zoo.densenet())
    images, errors = run.images(before, 16), {}
    for option, asked in (("", True), ("reconstruct=true", True), ("reconstruct=false", False)):
        sources = Sources(before)
        after, notes = apply(before, f"channels{{align=1 {option}}}", grams=sources)
        assert (sources.asked != []) == asked
        assert any(re.fullmatch(r"\d+ weights solved anew on real images", note) for note in notes) == asked
        errors[option] = float(np.square(logits(after, images) - logits(before, images)).mean())
    assert errors[""] == errors["reconstruct=true"] < 0.5 * errors["reconstruct=false"]


@pytest.mark.parametrize("first", ["prune", "qat", "prune,qat", "distill"])
@pytest.mark.parametrize("name", ["densenet", "resnet", "mobilenet"])
def test_after_other_passes(name: str, first: str) -> None:
    """Files that are masked, quantized or taught: their constants are cut with the weights."""
    plain = from_proto(zoo.ALL[name]())
    before = pipeline.apply(plain, recipes.parse(first), calibration=run.Observed())
    after, _ = apply(before, "channels{sparsity=0.4 align=2}")
    assert after.recipe == f"{first},channels{{sparsity=0.4 align=2}}"
    assert {n.op for n in after.graph.nodes} == {n.op for n in before.graph.nodes}
    assert (total(after.graph) or 0) < 0.9 * (total(before.graph) or 0)
    for weight, mask in graphs.masks(after.graph).items():
        assert mask.values.shape == after.constants()[weight].values.shape
    assert_as_zeroed(before, after, Channels(sparsity=0.4, align=2))
    finalize_report(after, get_target("ort-cpu"))


def test_on_a_trained_file_with_a_teacher() -> None:
    """The student is cut, the teacher is not, and the losses still compare what they compared."""
    before = networks.zoo_compression("resnet", "distill")
    rng = np.random.default_rng(0)
    constants = before.constants()
    for name, role in before.roles.items():
        if role is Role.TRAINABLE:
            constants[name].values = constants[name].values * rng.uniform(
                0.8, 1.2, constants[name].shape
            ).astype(np.float32)
    after, notes = apply(before, "channels{align=1}")
    images = run.images(before)
    found, expected = run.outputs(after, images), run.outputs(before, images)
    assert found.keys() == expected.keys()
    assert all(np.isfinite(value).all() for value in found.values())
    for name, role in before.roles.items():
        if role is Role.TEACHER:
            np.testing.assert_array_equal(after.constants()[name].values, constants[name].values)
    assert any("compares them with the teacher's" in note for note in notes)
    assert_as_zeroed(before, after, Channels(align=1))


@pytest.mark.parametrize("rest", ["prune", "qat", "distill", "prune,qat,distill"])
def test_before_other_passes(rest: str) -> None:
    """The teacher is the network as it was given, at its full width."""
    before = from_proto(zoo.resnet())
    after, _ = apply(before, f"channels{{align=2}},{rest}", calibration=run.Observed())
    check(after)
    if "distill" in rest:
        for name, width in widths(before).items():
            assert after.constants()[f"teacher/{name}"].values.shape[0] == width
    assert after.given["macs"] == total(before.graph)


@pytest.mark.parametrize("name", ["densenet", "resnet", "mobilenet", "vit"])
def test_on_a_schedule_masks_close_and_finalize_cuts(name: str) -> None:
    before = from_proto((zoo.ALL | zoo.MORE)[name]())
    text = "channels{schedule=cubic macs=0.6 align=2}"
    after, notes = apply(before, text)
    assert widths(after) == widths(before)
    assert notes[0] == f"{len(graphs.masks(after.graph))} weights masked, to be cut by finalize"
    images = run.images(before)
    expected = logits(before, images)
    np.testing.assert_allclose(logits(after, images), expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    channels = recipes.parse(after.recipe).passes[0]
    assert isinstance(channels, Channels)
    schedule, selection = channels.make_schedule(40), channels.selection(after)
    masks = {weight: mask.values.copy() for weight, mask in graphs.masks(after.graph).items()}
    for step in filter(schedule.is_due, range(40)):
        gone = selection.choose(
            scores.magnitude(after.graph, selection.dependencies),
            schedule.sparsity(step, 1.0),
            closed(selection.dependencies, masks),
        )
        assert gone is not None
        close(selection.dependencies, masks, gone)
    for weight, mask in graphs.masks(after.graph).items():
        mask.values = masks[weight]
    result, report = finalize_report(after, get_target("xavier"))
    assert report.channels == len(closed(selection.dependencies, masks))
    assert (total(result.graph) or 0) <= 0.6 * (total(before.graph) or 0)
    expected = logits(after, images)
    np.testing.assert_allclose(logits(result, images), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert any(width % 32 for width in widths(result).values()), "the alignment is the file's"


def refused(model: Model, text: str, **sources: Any) -> str:
    before = to_proto(model)
    with pytest.raises(PassError) as error:
        pipeline.apply(model, recipes.parse(text), **sources)
    assert to_proto(model) == before
    return str(error.value)


def single(net: Builder, x: str) -> str:
    return gemm(net, net.node("Flatten", [x], "flat"), "fc", 108, CLASSES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("sparsity=0.5 macs=0.5", "sparsity and macs are both given; give one of them"),
        ("criterion=taylor", "criterion=taylor needs labelled images; give --data"),
        ("criterion=obd", "criterion=obd needs labelled images; give --data"),
        ("reconstruct=true", "reconstruct needs real images; give --data"),
        ("seed=1", "seed is for criterion=random alone; leave channels.seed out"),
        (
            "end=0.7",
            "one-shot cuts when it is applied; leave begin, end and frequency out, or set schedule=cubic",
        ),
        ("exclude=head", "exclude names head, which is no weighted layer; see onnxcomp inspect"),
        (
            "macs=0.01 align=8",
            "macs=0.01 cannot be reached with widths that are multiples of 8; "
            "set channels.align lower or ask for less",
        ),
        (
            "sparsity=0.9 align=8",
            "sparsity=0.9 cannot be reached with widths that are multiples of 8; "
            "set channels.align lower or ask for less",
        ),
        (
            "align=16",
            "sparsity=0.5 cannot be reached with widths that are multiples of 16; "
            "set channels.align lower or ask for less",
        ),
        (
            "schedule=cubic macs=0.01 align=8",
            "macs=0.01 cannot be reached with widths that are multiples of 8; "
            "set channels.align lower or ask for less",
        ),
    ],
)
def test_refusals(options: str, message: str) -> None:
    assert refused(from_proto(zoo.resnet()), f"channels{{{options}}}") == f"channels: {message}"


def test_a_schedule_does_not_reconstruct() -> None:
    model = from_proto(zoo.resnet())
    line = refused(model, "channels{schedule=cubic reconstruct=true}", grams=Sources(model))
    assert line == "channels: reconstruct is for schedule=one-shot; leave channels.reconstruct out"


def test_a_schedule_that_ends_before_it_begins() -> None:
    model = from_proto(zoo.resnet())
    for begin, end in ((0.6, 0.5), (200, 100)):
        line = refused(model, f"channels{{schedule=cubic begin={begin} end={end}}}")
        assert line == f"channels: begins at {begin}, after its end at {end}; raise channels.end"
    apply(model, "channels{schedule=cubic begin=200 end=0.5 align=4}")  # training knows


def test_a_schedule_wants_weights_without_masks() -> None:
    line = refused(from_proto(zoo.resnet()), "prune,channels{schedule=cubic}")
    assert line == ("channels: weights have masks already; use schedule=one-shot, or apply channels first")


def test_a_network_of_one_layer() -> None:
    assert refused(ending(single), "channels") == (
        "channels: there is no channel that can go; loosen channels.exclude; kept are "
        "fc.weight (output is an output of the network)"
    )


def test_everything_excluded() -> None:
    line = refused(classifier(lambda net, x: conv(net, x, "a", 3, 4), 4), "channels{exclude=*}")
    assert line.startswith("channels: there is no channel that can go; loosen channels.exclude; kept are ")
    assert "a.weight (excluded)" in line


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(value: float) -> None:
    model = from_proto(zoo.resnet())
    constant = model.constants()["onnx::Conv_127"]
    values = constant.values.copy()
    values[0, 0, 0, 0] = value
    constant.values = values
    line = refused(model, "channels")
    assert line.startswith("channels: node /layer1/layer1.0/conv2/Conv: onnx::Conv_127 is not finite")


def test_an_unknown_size() -> None:
    model = classifier(lambda net, x: conv(net, x, "a", 3, 8), 8)
    model.image.shape = ["N", 3, "h", "w"]
    for node in model.graph.nodes:
        for tensor in node.outputs:
            tensor.shape = [*tensor.shape[:2], *["any"] * (len(tensor.shape) - 2)]
    assert refused(model, "channels") == (
        "channels: the output of /a/Conv has no known size; give the network a fixed image size"
    )


def test_twice_and_out_of_order() -> None:
    model = from_proto(zoo.resnet())
    once, _ = apply(model, "channels{align=4}")
    with pytest.raises(RecipeError, match="the pass channels is applied twice"):
        pipeline.apply(once, recipes.parse("channels"))
    for text in ("channels,prune", "channels,qat", "channels,distill", "prune,channels", "qat,channels"):
        recipes.parse(text).check_order()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("macs=0", "macs is 0: Input should be greater than 0"),
        ("macs=1.2", "macs is 1.2: Input should be less than 1"),
        ("sparsity=1", "sparsity is 1: Input should be less than 1"),
        ("align=0", "align is 0: Input should be greater than or equal to 1"),
        ("criterion=obs", "criterion is 'obs': Input should be 'magnitude', 'random', 'taylor' or 'obd'"),
        ("schedule=ramp", "schedule is 'ramp': Input should be 'one-shot' or 'cubic'"),
        ("begin=-1", "begin is -1: Input should be greater than or equal to 0"),
        ("frequency=0", "frequency is 0: Input should be greater than 0"),
        ("frequency=Infinity", "frequency is inf: Input should be a finite number"),
        ("end=Infinity", "end is inf: Input should be a finite number"),
        ("begin=1.5", "begin is 1.5: above 1 it counts steps, which are whole"),
    ],
)
def test_options_out_of_range(options: str, message: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(f"channels: {message}")):
        recipes.parse(f"channels{{{options}}}")


shares = st.none() | st.floats(0.01, 0.99)
times = st.floats(0, 1) | st.integers(2, 10**6)


@given(
    st.builds(
        Channels,
        sparsity=shares,
        macs=shares,
        criterion=st.sampled_from(["magnitude", "random", "taylor", "obd"]),
        allocation=st.sampled_from(["global", "uniform"]),
        align=st.none() | st.integers(1, 64),
        reconstruct=st.none() | st.booleans(),
        schedule=st.sampled_from(["one-shot", "cubic"]),
        begin=times,
        end=times,
        frequency=st.floats(1e-3, 1) | st.integers(1, 10**6),
        exclude=st.lists(st.text('ab*?.[]:/ "\\', min_size=1), max_size=3).map(tuple),
        seed=st.integers(0, 2**40),
    )
)
def test_the_recipes_text_round_trips(channels: Channels) -> None:
    recipe = recipes.Recipe((channels,))
    assert recipes.parse(str(recipe)) == recipe
