from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxcomp.errors import DataError
from onnxcomp.parity import polygraphy_files
from onnxcomp.parity.comparator import Verdict
from tests import pictures

MODEL = pictures.network("mlp")
NAME, LOGITS = MODEL.image.name, MODEL.logits.name


def images(*sizes: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((size, 3, 16, 16), dtype=np.float32) for size in sizes]


def verdict(*sizes: int) -> Verdict:
    rng = np.random.default_rng(1)
    first, second = rng.standard_normal((2, sum(sizes), 10)).astype(np.float32)
    return Verdict(first, second, True, None, sizes)


def test_inputs_come_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "in.json"
    polygraphy_files.save_inputs(path, images(4, 4, 2), NAME)
    for saved, found in zip(images(4, 4, 2), polygraphy_files.load_inputs(path, MODEL), strict=True):
        np.testing.assert_array_equal(saved, found)
    from polygraphy.json import load_json

    assert [list(feed) for feed in load_json(str(path))] == [[NAME]] * 3


def test_outputs_come_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    saved = verdict(4, 4, 2)
    polygraphy_files.save_outputs(path, saved, LOGITS)
    candidate, reference = polygraphy_files.load_outputs(path, MODEL, 10)
    assert (candidate.name, reference.name) == ("candidate", "reference")
    np.testing.assert_array_equal(candidate.logits, saved.candidate)
    np.testing.assert_array_equal(reference.logits, saved.reference)
    from polygraphy.comparator import RunResults

    loaded = RunResults.load(str(path))
    assert [len(next(iter(part.values()))) for part in loaded["candidate"]] == [4, 4, 2]


def test_one_input_or_output_may_be_called_otherwise(tmp_path: Path) -> None:
    polygraphy_files.save_inputs(tmp_path / "in.json", images(2), "other")
    assert len(polygraphy_files.load_inputs(tmp_path / "in.json", MODEL)) == 1
    polygraphy_files.save_outputs(tmp_path / "out.json", verdict(2), "other")
    assert len(polygraphy_files.load_outputs(tmp_path / "out.json", MODEL, 2)) == 2


@pytest.mark.parametrize(
    ("feed", "message"),
    [
        (
            {NAME: np.zeros((2, 3, 8, 8), np.float32)},
            r"\[2, 3, 8, 8\] where .* \['N', 3, 16, 16\] is expected",
        ),
        ({NAME: np.zeros((0, 3, 16, 16), np.float32)}, "is expected"),
        ({"a": np.zeros(1), "b": np.zeros(1)}, "the inputs a, b where"),
    ],
)
def test_inputs_of_another_network_are_refused(feed: dict, message: str, tmp_path: Path) -> None:
    from polygraphy.json import save_json

    save_json([feed], str(tmp_path / "in.json"))
    with pytest.raises(DataError, match=message):
        polygraphy_files.load_inputs(tmp_path / "in.json", MODEL)


def test_outputs_of_another_network_are_refused(tmp_path: Path) -> None:
    from polygraphy.comparator import IterationResult, RunResults

    results = RunResults([("trt", [IterationResult({"y": np.zeros((2, 7), np.float32)})])])
    results.save(str(tmp_path / "out.json"))
    with pytest.raises(DataError, match="holds the outputs y, none of 10 logits"):
        polygraphy_files.load_outputs(tmp_path / "out.json", MODEL, 2)


def test_answers_to_other_images_are_refused(tmp_path: Path) -> None:
    polygraphy_files.save_outputs(tmp_path / "out.json", verdict(4), LOGITS)
    with pytest.raises(DataError, match="candidate answered 4 images, and 200 are compared; feed the same"):
        polygraphy_files.load_outputs(tmp_path / "out.json", MODEL, 200)


@pytest.mark.parametrize("text", ["", "{}", "[]", "[1]", "nonsense", '{"a": ', "null", '"text"'])
def test_files_of_something_else_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"a\.json: "):
        polygraphy_files.load_inputs(path, MODEL)
    with pytest.raises(DataError, match=r"a\.json: "):
        polygraphy_files.load_outputs(path, MODEL, 4)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.json: there is no such file"):
        polygraphy_files.load_inputs(tmp_path / "no.json", MODEL)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_is_an_error_or_a_result(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "out.json"
    if not path.exists():
        polygraphy_files.save_outputs(path, verdict(2, 1), LOGITS)
    text = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    damaged = tmp_path / "damaged.json"
    damaged.write_bytes(bytes(text[: data.draw(st.integers(0, len(text)))]))
    with suppress(DataError):
        assert polygraphy_files.load_outputs(damaged, MODEL, 3)
