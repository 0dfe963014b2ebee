"""What calibration keeps: the same answers without a run, for the same network and images alone."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from onnxcomp import observed, pipeline, recipe, runtime
from onnxcomp.calibration import ImageCalibration
from onnxcomp.calibration_cache import CachedCalibration
from onnxcomp.model import Model, from_proto
from onnxcomp.observed import Observed
from tests import zoo

IMAGES = np.random.default_rng(0).standard_normal((3, 4, 3, 16, 16)).astype(np.float32)


class Sessions:
    """Counts the networks that are built to be run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        build = runtime.session

        def counted(*args: object, **options: object) -> object:
            self.count += 1
            return build(*args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(runtime, "session", counted)


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Sessions:
    return Sessions(monkeypatch)


class Warned(list[str]):
    def __call__(self, line: str) -> None:
        self.append(line)


def calibration(
    root: Path, images: np.ndarray = IMAGES, warn: Callable[[str], None] = pytest.fail
) -> CachedCalibration:
    def batches() -> Iterator[np.ndarray]:
        return iter(images)

    return CachedCalibration(ImageCalibration(batches, 1), batches, root, warn)


def network() -> tuple[Model, list[str]]:
    model = from_proto(zoo.resnet())
    return model, [
        model.image.name,
        *(node.outputs[0].name for node in model.graph.nodes if node.op == "Relu"),
    ]


def assert_equal(left: dict[str, Observed], right: dict[str, Observed]) -> None:
    assert list(left) == list(right)
    for name, one in left.items():
        for attribute, value in vars(one).items():
            np.testing.assert_array_equal(value, getattr(right[name], attribute))
            assert type(value) is type(getattr(right[name], attribute))


@pytest.mark.parametrize("histogram", [True, False])
def test_the_second_call_runs_nothing_and_gives_the_same(
    tmp_path: Path, sessions: Sessions, histogram: bool
) -> None:
    model, names = network()
    first = calibration(tmp_path).observe(model, names, histogram=histogram)
    assert sessions.count == 1
    second = calibration(tmp_path).observe(model, names, histogram=histogram)
    assert sessions.count == 1
    assert_equal(first, second)
    plain = ImageCalibration(lambda: IMAGES, 1).observe(model, names, histogram=histogram)
    assert_equal(plain, second)


def test_only_what_is_missing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, names = network()
    asked = []
    observe = ImageCalibration.observe

    def noted(self: ImageCalibration, model: Model, tensors: list[str], *, histogram: bool = True) -> object:
        asked.append((list(tensors), histogram))
        return observe(self, model, tensors, histogram=histogram)

    monkeypatch.setattr(ImageCalibration, "observe", noted)
    calibration(tmp_path).observe(model, names[:2])
    calibration(tmp_path).observe(model, names[1:])
    calibration(tmp_path).observe(model, names[::-1])
    assert asked == [(names[:2], True), (names[2:], True)]
    # A histogram knows the range, but not the other way round.
    calibration(tmp_path).observe(model, names, histogram=False)
    assert len(asked) == 2
    other = tmp_path / "other"
    calibration(other).observe(model, names, histogram=False)
    found = calibration(other).observe(model, names)
    assert asked[2:] == [(names, False), (names, True)]
    assert all(one.histogram for one in found.values())


def test_logits_are_kept_as_far_as_they_were_asked_for(tmp_path: Path, sessions: Sessions) -> None:
    model, _ = network()
    name = model.logits.name
    expected = [found[name] for found in ImageCalibration(lambda: IMAGES, 1).run(model, [name])]
    sessions.count = 0

    def logits(count: int | None) -> list[np.ndarray]:
        return [found[name] for found in itertools.islice(calibration(tmp_path).run(model, [name]), count)]

    for count, built in ((2, 1), (1, 1), (2, 1), (None, 2), (None, 2), (3, 2)):
        np.testing.assert_array_equal(logits(count), expected[:count])
        assert sessions.count == built


def test_everything_else_is_run_as_ever(tmp_path: Path, sessions: Sessions) -> None:
    model, names = network()
    for expected in (1, 2):
        assert len(list(calibration(tmp_path).run(model, names))) == len(IMAGES)
        assert sessions.count == expected
    assert not list(tmp_path.iterdir())


def changed_weight(model: Model) -> None:
    weight = next(iter(model.constants().values()))
    weight.values = weight.values * np.float32(2)


def changed_attribute(model: Model) -> None:
    node = next(node for node in model.graph.nodes if node.op == "Gemm")
    node.attrs["alpha"] = 0.5


def changed_node(model: Model) -> None:
    next(node for node in model.graph.nodes if node.op == "Relu").op = "Abs"


@pytest.mark.parametrize("change", [changed_weight, changed_attribute, changed_node])
def test_another_network_is_measured(
    tmp_path: Path, sessions: Sessions, change: Callable[[Model], None]
) -> None:
    model, names = network()
    calibration(tmp_path).observe(model, names)
    model = model.copy()
    change(model)
    found = calibration(tmp_path).observe(model, names)
    assert sessions.count == 2
    assert_equal(ImageCalibration(lambda: IMAGES, 1).observe(model, names), found)


@pytest.mark.parametrize(
    "images", [IMAGES[:2], IMAGES[::-1], IMAGES.reshape(6, 2, 3, 16, 16), IMAGES + np.float32(1e-6)]
)
def test_other_images_another_order_or_other_batches_are_measured(
    tmp_path: Path, sessions: Sessions, images: np.ndarray
) -> None:
    model, names = network()
    calibration(tmp_path).observe(model, names)
    calibration(tmp_path, images).observe(model, names)
    assert sessions.count == 2


def test_names_of_classes_and_a_recipe_change_nothing(tmp_path: Path, sessions: Sessions) -> None:
    model, names = network()
    calibration(tmp_path).observe(model, names)
    model.classes = tuple("abcdefghij")
    calibration(tmp_path).observe(pipeline.apply(model, recipe.parse("distill")), names)
    assert sessions.count == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:100],
        lambda data: data[:-1],
        lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: b"\x00" * len(data),
    ],
)
def test_damage_is_said_and_measured_anew(
    tmp_path: Path, sessions: Sessions, damage: Callable[[bytes], bytes]
) -> None:
    model, names = network()
    expected = calibration(tmp_path).observe(model, names)
    (path,) = tmp_path.rglob("*.npz")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    warned = Warned()
    assert_equal(expected, calibration(tmp_path, warn=warned).observe(model, names))
    assert warned == [f"{path}: damaged, measured anew"]
    assert sessions.count == 2
    assert path.read_bytes() == whole
    calibration(tmp_path).observe(model, names)
    assert sessions.count == 2


def test_a_file_of_another_network_is_damage(tmp_path: Path) -> None:
    model, names = network()
    calibration(tmp_path).observe(model, names)
    (path,) = tmp_path.rglob("*.npz")
    changed_weight(model)
    calibration(tmp_path).observe(model, names)
    (other,) = set(tmp_path.rglob("*.npz")) - {path}
    other.write_bytes(path.read_bytes())
    warned = Warned()
    calibration(tmp_path, warn=warned).observe(model, names)
    assert len(warned) == 1


def test_the_file_is_an_archive_of_arrays(tmp_path: Path) -> None:
    model, names = network()
    calibration(tmp_path).observe(model, names)
    (path,) = tmp_path.rglob("*.npz")
    with np.load(path, allow_pickle=False) as archive:
        assert archive["names"].tolist() == names


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    model, names = network()
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    warned = Warned()
    found = calibration(tmp_path / "file", warn=warned).observe(model, names)
    assert list(found) == names
    assert len(warned) == 1
    assert warned[0].startswith("calibration is not kept: ")


def test_nothing_is_kept_of_a_run_that_failed(tmp_path: Path) -> None:
    model, names = network()

    def batches() -> Iterator[np.ndarray]:
        yield IMAGES[0]
        raise KeyboardInterrupt

    broken = CachedCalibration(ImageCalibration(batches, 1), lambda: IMAGES, tmp_path, pytest.fail)
    with pytest.raises(KeyboardInterrupt):
        broken.observe(model, names)
    assert not list(tmp_path.rglob("*.npz"))


def _observe(root: Path) -> None:
    model, names = network()
    calibration(root).observe(model, names)


def test_processes_share_a_folder(tmp_path: Path, sessions: Sessions) -> None:
    context = multiprocessing.get_context("spawn")
    running = [context.Process(target=_observe, args=(tmp_path,)) for _ in range(2)]
    for one in running:
        one.start()
    for one in running:
        one.join()
        assert one.exitcode == 0
    model, names = network()
    calibration(tmp_path).observe(model, names)
    assert sessions.count == 0
    assert len(list(tmp_path.rglob("*"))) == 2  # a folder and its file, nothing temporary


def test_qat_twice_computes_nothing_and_writes_the_same(tmp_path: Path, sessions: Sessions) -> None:
    model, _ = network()
    options = "qat{calibration=entropy}"
    first, second = (
        pipeline.apply(model, recipe.parse(options), calibration=calibration(tmp_path)) for _ in range(2)
    )
    assert sessions.count == 1
    for name, constant in first.constants().items():
        np.testing.assert_array_equal(constant.values, second.constants()[name].values)


def test_observations_of_any_kind_come_back(tmp_path: Path) -> None:
    """Zeros, one sign, both, and tensors of many sizes."""
    model, names = network()
    images = IMAGES * np.float32(0)
    first = calibration(tmp_path, images).observe(model, names)
    assert_equal(first, calibration(tmp_path, images).observe(model, names))
    assert first[names[0]].limit == 0
    assert first[names[0]].counts[observed.BINS] == images.size
