"""The time of each layer."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.deploy.trtexec.exports.layer_times import LayerTime, parse_layer_times, read_layer_times
from onnxcomp.deploy.trtexec.exports.tolerant import ExportError
from tests.deploy.trtexec.exports.mutations import damaged, refusal
from tests.deploy.trtexec.samples import REAL, VERSIONS, needs_real, sample

TEXT = sample("8.5", "profile").read_text()


def written(*names: str) -> str:
    """A file with these names, as exportJSONProfile lays it out."""
    row = ', {{ "name" : "{}", "timeMs" : 2, "averageMs" : 1, "medianMs" : 0.9, "percentage" : 50 }}\n'
    return '[\n  { "count" : 2 }\n' + "".join(row.format(name) for name in names) + "]\n"


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version(version: str) -> None:
    times = read_layer_times(sample(version, "profile"))
    assert times.runs == 200
    assert times.layers[0].name == "x.Q"
    means = [each.mean for each in times.layers if each.mean is not None]
    assert len(means) == len(times.layers) == (8 if version.startswith("8") else 9)
    # Six significant digits were written.
    for each in times.layers:
        assert each.total == pytest.approx(200 * (each.mean or 0), rel=1e-5)
        assert each.percent == pytest.approx(100 * (each.mean or 0) / math.fsum(means), rel=1e-5)


@needs_real
def test_real_output() -> None:
    times = read_layer_times(REAL / "profile_trt8.json")
    assert times.runs == 1
    assert times.layers[0] == LayerTime("QuantizeLinear_2", 0.095232, 0.095232, 0.095232, 13.0252)
    assert times.layers[3].name == "layer1.0.conv2.weight + QuantizeLinear_32 + Conv_34 + Add_42 + Relu_43"
    assert len(times.layers) == 5


@given(st.lists(st.text().filter(lambda name: '", "timeMs"' not in name)))
def test_names_are_not_escaped(names: list[str]) -> None:
    assert [each.name for each in parse_layer_times(written(*names), "f").layers] == names


@given(st.lists(st.text()))
def test_names_are_escaped_where_another_tool_wrote_the_file_anew(names: list[str]) -> None:
    rows = [{"name": name, "timeMs": 1.5, "averageMs": 1.5, "percentage": 1} for name in names]
    times = parse_layer_times(json.dumps([{"count": 3}, *rows], indent=1), "f")
    assert [each.name for each in times.layers] == names


def test_older_files_have_no_median_and_a_sum_of_zero_no_percentage() -> None:
    text = '[\n  { "count" : 1 }\n, { "name" : "a", "timeMs" : 0, "averageMs" : 0, "percentage" : -nan }\n]\n'
    assert parse_layer_times(text, "f").layers == (LayerTime("a", 0.0, 0.0, None, None),)
    assert parse_layer_times('[{ "name" : "a", "timeMs" : 1e-05 }]', "f").runs is None
    assert parse_layer_times('[ { "count" : 0 } ]', "f").layers == ()


@pytest.mark.parametrize("end", range(1, len(TEXT.rstrip()), 97))
def test_a_file_that_is_cut_off(end: int) -> None:
    with pytest.raises(ExportError, match=r"^f: (is|layer)") as caught:
        parse_layer_times(TEXT[:end], "f")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{}", "hello", '[{"count": 1}, 3]', sample("11", "layers").read_text()])
def test_another_file(text: str) -> None:
    with pytest.raises(ExportError):
        parse_layer_times(text, "f")


@given(st.binary() | damaged(TEXT).map(str.encode))
def test_any_bytes_give_a_result_or_one_line(data: bytes) -> None:
    said = refusal(parse_layer_times, data)
    assert said.startswith("f: ")
    assert "\n" not in said


@pytest.mark.parametrize("piece", ['{ "name" : "', '", "timeMs" : ', '"' + " " * 9, "1", ', "a" : 1'])
@pytest.mark.timeout(20)
def test_a_damaged_file_takes_no_time_that_grows_with_its_square(piece: str) -> None:
    text = '[\n  { "count" : 2 }\n, { "name" : "' + piece * 200_000
    with pytest.raises(ExportError):
        parse_layer_times(text, "f")
