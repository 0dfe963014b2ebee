"""The teacher runs once where images do not vary; damaged, foreign and unwritable caches do no harm."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onnxcomp import model as models
from onnxcomp.data import DataSet, ImageSet, TrainingBatches, dataset, open_data
from onnxcomp.errors import OnnxcompError
from onnxcomp.model import Model, Preprocessing
from onnxcomp.training import engine, teacher_cache
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.loop import train
from onnxcomp.training.ort.teacher import TeacherSession
from onnxcomp.training.progress import Silent
from onnxcomp.training.teacher_cache import Request, TeacherCache
from tests import zoo
from tests.training import networks
from tests.training.fake import colours

SIZE, BATCH = 8, 8
CONFIG = TrainConfig(1, batch_size=BATCH, lr=0.05, threads=1, augment="none")
PLAN = (
    '[{"losses":{"boundary":1,"hints":0.1},"steps":2},'
    '{"losses":{"task":0.5,"soft_targets":0.5,"relations":1}}]'
)


@pytest.fixture(scope="module")
def data() -> DataSet:
    return colours()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, data: DataSet) -> Model:
    path = tmp_path_factory.mktemp("cache") / "teacher.onnx"
    classes = len(data.classes)
    models.save(models.from_proto(zoo.resnet(size=SIZE, classes=classes)), path)
    return networks.zoo_compression("densenet", f'distill{{teacher="{path}" stages={PLAN}}}', classes=classes)


def request(model: Model, data: DataSet, folder: Path | None, notes: list[str], **options: Any) -> Request:
    settings = {"augment": "none", "preprocessing": Preprocessing((80.0,) * 3, (50.0,) * 3), **options}
    batches = TrainingBatches(
        data.train, (SIZE, SIZE), settings["preprocessing"], 3, BATCH, 0, settings["augment"]
    )
    return Request(model, batches, folder, 1, notes.append)


def opened(
    model: Model, data: DataSet, folder: Path | None, **options: Any
) -> tuple[TeacherCache | None, str]:
    notes: list[str] = []
    found = request(model, data, folder, notes, **options).open()
    (note,) = notes[-1:]
    return found, note


def test_it_says_what_the_teacher_says(tmp_path: Path, model: Model, data: DataSet) -> None:
    cache, note = opened(model, data, tmp_path)
    assert cache is not None
    assert note.startswith(f"the teacher ran once on {len(data.train)} images")
    batches = request(model, data, tmp_path, []).batches
    one, two = (engine.build(model, batch_size=BATCH, threads=1) for _ in range(2))
    for step in range(3):
        images, labels = batches.batch(step)
        run = one.step(images, labels)
        known = two.step(images, labels, cache(batches.indices(step)))
        assert run.losses == pytest.approx(known.losses, rel=1e-5)
        for name, gradient in one.gradients.items():
            largest = np.abs(gradient).max()
            np.testing.assert_allclose(two.gradients[name], gradient, rtol=0, atol=1e-5 * largest + 1e-9)


def test_rows_are_of_images(
    model: Model, data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tensor of the tokens of all images has no row an image."""
    whole = TeacherSession.__init__

    def tokens(self: TeacherSession, *given: Any) -> None:
        whole(self, *given)
        self.hidden["teacher/fc1"] = np.zeros((4 * BATCH, 3), np.float32)

    monkeypatch.setattr(TeacherSession, "__init__", tokens)
    cache, note = opened(model, data, tmp_path)
    assert cache is None
    what = f"teacher/fc1 is ({4 * BATCH}, 3), and its first axis is not the images'"
    assert note == f"the teacher runs at each step: {what}"
    assert list(tmp_path.iterdir()) == []


def test_what_is_known_is_what_counts(model: Model, data: DataSet) -> None:
    """Otherwise the test above would hold of a step that runs the teacher."""
    batches = request(model, data, None, []).batches
    ours = engine.build(model, batch_size=BATCH, threads=1)
    images, labels = batches.batch(0)
    before = ours.step(images, labels)
    other = engine.build(model, batch_size=BATCH, threads=1)
    hidden = {name: np.zeros_like(array) for name, array in other.hidden.items()}
    after = other.step(images, labels, hidden)
    assert after.losses["loss/soft_targets"] != pytest.approx(before.losses["loss/soft_targets"], rel=1e-3)


def test_the_second_time_it_is_read(tmp_path: Path, model: Model, data: DataSet) -> None:
    first, _ = opened(model, data, tmp_path)
    second, note = opened(model, data, tmp_path)
    assert note.startswith("the teacher's outputs are read from")
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.values, second.values)
    assert len(list(tmp_path.iterdir())) == 1


def test_the_test_s_batches_do_not_reach_the_key(tmp_path: Path, model: Model, data: DataSet) -> None:
    opened(model, data, tmp_path)
    _, note = opened(model, replace(data, test=data.train), tmp_path)
    assert note.startswith("the teacher's outputs are read from")


def others(model: Model, data: DataSet) -> Iterator[tuple[str, Model, DataSet, dict[str, Any]]]:
    images = data.train.source.pixels.copy()  # type: ignore[attr-defined]
    images[-1, 0, 0, 0] ^= 1
    changed = replace(data, train=type(data.train).from_arrays(images, data.train.labels, data.classes))
    yield "one pixel", model, changed, {}
    yield "preprocessing", model, data, {"preprocessing": Preprocessing((81.0,) * 3, (50.0,) * 3)}
    teacher = model.copy()
    name = next(n for n, c in teacher.constants().items() if n.startswith("teacher/") and c.values.ndim == 4)
    constant = teacher.constants()[name]
    constant.values = constant.values * np.float32(1.001)
    yield "a weight of the teacher", teacher, data, {}


def test_other_images_or_another_teacher_have_another_file(
    tmp_path: Path, model: Model, data: DataSet
) -> None:
    opened(model, data, tmp_path)
    for number, (what, network, images, options) in enumerate(others(model, data), start=2):
        _, note = opened(network, images, tmp_path, **options)
        assert note.startswith("the teacher ran once"), what
        assert len(list(tmp_path.iterdir())) == number, what


def test_the_student_s_weights_do_not_reach_the_key(tmp_path: Path, model: Model, data: DataSet) -> None:
    opened(model, data, tmp_path)
    student = model.copy()
    constant = student.constants()["classifier.weight"]
    constant.values = constant.values * np.float32(2)
    _, note = opened(student, data, tmp_path)
    assert note.startswith("the teacher's outputs are read from")


@pytest.mark.parametrize("damage", ["bit", "short", "long"])
def test_a_damaged_file_is_computed_anew(tmp_path: Path, model: Model, data: DataSet, damage: str) -> None:
    first, _ = opened(model, data, tmp_path)
    assert first is not None
    (path,) = tmp_path.iterdir()
    expected, content = np.array(first.values), path.read_bytes()
    changed = {
        "bit": content[:5] + bytes([content[5] ^ 4]) + content[6:],
        "short": content[:-9],
        "long": content + b"x",
    }
    del first
    path.write_bytes(changed[damage])
    notes: list[str] = []
    again = request(model, data, tmp_path, notes).open()
    assert "is damaged" in notes[0]
    assert notes[1].startswith("the teacher ran once")
    assert again is not None
    np.testing.assert_array_equal(again.values, expected)


def test_with_augmentation_the_teacher_runs(tmp_path: Path, model: Model, data: DataSet) -> None:
    cache, note = opened(model, data, tmp_path, augment="flip")
    assert cache is None
    assert note == "the teacher runs at each step: its images are augmented (--no-augment would cache it)"
    assert not list(tmp_path.iterdir())


def test_without_a_teacher_nothing_is_said(tmp_path: Path, data: DataSet) -> None:
    notes: list[str] = []
    assert request(networks.zoo_compression("resnet"), data, tmp_path, notes).open() is None
    assert not notes


class Rank:
    """A process of two, that is told what rank 0 found."""

    size = 2

    def __init__(self, rank: int, there: bool = False) -> None:
        self.rank, self.there = rank, there

    def share(self, value: Any) -> Any:
        return value if self.rank == 0 else self.there


def test_other_ranks_read_what_the_first_wrote(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Model, data: DataSet
) -> None:
    one = request(model, data, tmp_path, []).open_on(Rank(0))  # type: ignore[arg-type]
    monkeypatch.setattr(Request, "_computed", None)
    two = request(model, data, tmp_path, []).open_on(Rank(1, True))  # type: ignore[arg-type]
    assert one is not None
    assert two is not None
    np.testing.assert_array_equal(one.values, two.values)


def test_other_ranks_do_without_where_the_first_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Model, data: DataSet
) -> None:
    monkeypatch.setattr(Request, "_computed", None)
    assert request(model, data, tmp_path, []).open_on(Rank(1, False)) is None  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_any_image_of_a_set_that_does_not_fit_in_memory_reaches_the_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(dataset, "CACHE_BYTES", 100)
    rng = np.random.default_rng(0)
    paths = [
        tmp_path / part / name / f"{n}.png" for part in ("train", "test") for name in "ab" for n in "012"
    ]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(path)

    def digest() -> str:
        return teacher_cache._images_digest(open_data(str(tmp_path)).train, (SIZE, SIZE))

    known = {digest()}
    assert known == {digest()}
    for path in paths[:6]:
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(path)
        assert digest() not in known
        known.add(digest())
    pixels = rng.integers(0, 256, (6, 9, 9, 3), dtype=np.uint8)
    for index in range(6):
        pixels[index, 0, 0, 0] ^= 1
        in_arrays = ImageSet.from_arrays(pixels, np.zeros(6, np.int64), ("a",))
        known.add(teacher_cache._images_digest(in_arrays, (SIZE, SIZE)))
    assert len(known) == 1 + 6 + 6


def test_it_tells_how_far_the_teacher_is(tmp_path: Path, model: Model, data: DataSet) -> None:
    told: list[tuple[int, int]] = []
    asked = request(model, data, tmp_path, [])
    one = replace(
        asked, batches=replace(asked.batches, batch_size=24), progress=lambda *two: told.append(two)
    )
    one.open()
    assert told == [(24, 64), (48, 64), (64, 64)]
    one.open()
    assert len(told) == 3


def test_rows_are_those_of_their_images_whatever_the_batch(
    tmp_path: Path, model: Model, data: DataSet
) -> None:
    """Whatever the batch, also in a last one that 64 images do not fill."""
    asked = request(model, data, tmp_path / "a", [])
    one = asked.open()
    two = replace(asked, folder=tmp_path / "b", batches=replace(asked.batches, batch_size=24)).open()
    assert one is not None
    assert two is not None
    chosen = np.array([63, 0, 40, 40])
    first, second = one(chosen), two(chosen)
    for name, array in first.items():
        if array.dtype == np.bool_:  # a value next to the threshold may round to its other side
            assert (array != second[name]).mean() < 1e-3, name
        else:
            np.testing.assert_allclose(array, second[name], rtol=1e-5, atol=1e-5, err_msg=name)
        assert (array[2] == array[3]).all()
        assert (array[0] != array[1]).any(), name


def test_with_it_no_session_of_the_teacher_is_opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Model, data: DataSet
) -> None:
    asked = request(model, data, tmp_path, [])
    asked.open()
    monkeypatch.setattr(TeacherSession, "_open", None)
    cache = asked.open()
    assert cache is not None
    built = engine.build(model, batch_size=BATCH, threads=1)
    built.step(*asked.batches.batch(0), cache(asked.batches.indices(0)))
    with pytest.raises(TypeError):
        built.step(*asked.batches.batch(0))


def test_what_is_too_large_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Model, data: DataSet
) -> None:
    monkeypatch.setattr(teacher_cache, "LARGEST", 100)
    cache, note = opened(model, data, tmp_path)
    assert cache is None
    assert note.startswith("the teacher runs at each step: its outputs would take")
    monkeypatch.undo()
    monkeypatch.setattr(teacher_cache, "SPARE", 2**80)
    cache, note = opened(model, data, tmp_path)
    assert cache is None
    assert "GiB are free" in note
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Model, data: DataSet
) -> None:
    """An error where the user named it; else the teacher runs at each step."""
    folder = tmp_path / "no"
    folder.mkdir(mode=0o555)
    with pytest.raises(OnnxcompError, match="cannot be written"):
        opened(model, data, folder)
    monkeypatch.setattr("onnxcomp.kept.default_root", lambda kind: folder)
    cache, note = opened(model, data, None)
    assert cache is None
    assert note.startswith("the teacher runs at each step: ")
    os.chmod(folder, 0o755)


def test_interrupted_it_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Model, data: DataSet
) -> None:
    def stop(self: object, *arguments: object) -> Iterator[np.ndarray]:
        yield np.zeros((BATCH, 7), np.uint8)
        raise KeyboardInterrupt

    monkeypatch.setattr(Request, "_computed", stop)
    with pytest.raises(KeyboardInterrupt):
        opened(model, data, tmp_path)
    assert not list(tmp_path.iterdir())


def constants(model: Model) -> dict[str, bytes]:
    return {name: constant.values.tobytes() for name, constant in model.constants().items()}


class StopError(Exception):
    pass


def test_a_training_with_it_resumes_bit_for_bit(tmp_path: Path, model: Model, data: DataSet) -> None:
    config = replace(CONFIG, epochs=2, teacher_cache=str(tmp_path / "cache"), checkpoint_every=1, log_every=1)
    whole = train(model, data, config, tmp_path / "whole")
    steps = 0

    def build(*arguments: Any, **options: Any) -> engine.Engine:
        made = engine.build(*arguments, **options)
        step = made.step

        def counted(*values: Any) -> engine.StepResult:
            nonlocal steps
            steps += 1
            if steps == 4:
                raise StopError
            assert len(values) == 3  # the teacher does not run
            return step(*values)

        made.step = counted  # type: ignore[assignment, method-assign]
        return made

    with pytest.raises(StopError):
        train(model, data, config, tmp_path / "part", build=build)
    resumed = train(model, data, config, tmp_path / "part", resume=True)
    assert constants(resumed) == constants(whole)
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    losses = [{key for key in line if key.startswith("loss/")} for line in lines if "loss" in line]
    assert losses[0] == {"loss/boundary", "loss/hints"}
    assert losses[-1] == {"loss/task", "loss/soft_targets", "loss/relations"}


def test_off_runs_the_teacher_at_each_step(tmp_path: Path, model: Model, data: DataSet) -> None:
    notes: list[str] = []
    noted = Silent()
    noted.note = notes.append  # type: ignore[assignment, method-assign]
    train(model, data, replace(CONFIG, teacher_cache="off"), tmp_path / "run", progress=noted)
    assert not [note for note in notes if "teacher" in note]
