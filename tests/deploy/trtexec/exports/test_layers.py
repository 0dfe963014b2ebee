"""What each layer is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.deploy.trtexec.exports.layers import (
    LayerInfo,
    Tensor,
    onnx_names,
    parse_layers,
    read_layers,
    type_of,
)
from onnxcomp.deploy.trtexec.exports.tolerant import ExportError
from tests.deploy.trtexec.exports.mutations import damaged, refusal
from tests.deploy.trtexec.samples import REAL, VERSIONS, needs_real, sample

CONV2 = "conv2.weight + conv2.weight.Q + conv2 + add + relu2"
TEXT = sample("10", "layers").read_text()
WIDE = "Thirty-two wide channel vectorized row major Int8 format"
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
KEYS = (
    *("Name", "LayerType", "Inputs", "Outputs", "Weights", "HasSparseWeights", "TacticName", "Metadata"),
    *("Origin", "ParameterType", "Dimensions", "Format", "DataType", "Format/Datatype", "Type"),
)


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version(version: str) -> None:
    engine = read_layers(sample(version, "layers"))
    assert engine.detailed
    assert engine.bindings == ("x", "y")
    layer = next(each for each in engine.layers if each.name == CONV2)
    assert layer.kind == "CaskConvolution"
    assert layer.parameters == "Convolution"
    assert layer.weights == "INT8"
    assert layer.sparse_weights is True
    assert layer.inputs[0] == Tensor("b1.int8", (4, 64, 16, 16), WIDE, "INT8")
    assert [each.type for each in layer.inputs] == ["INT8", "FP16"]
    assert ("sparse" in layer.tactic) == (version in ("10", "11"))
    nodes = ("b1.DQ", "conv2.weight.Q", "conv2", "add", "relu2", "b2.Q")
    assert layer.onnx == (None if version == "8.5" else nodes)


def test_pooling_fused_into_a_convolution_puts_its_name_before_the_keys() -> None:
    layer = read_layers(sample("8.5", "layers")).layers[1]
    assert (layer.kind, layer.weights, layer.sparse_weights, layer.tactic) == (
        "ConvActPool",
        "INT8",
        False,
        "",
    )


@needs_real
def test_real_output() -> None:
    engine = read_layers(REAL / "layerinfo_trt8.json")
    assert engine.bindings == ("input.1", "470")
    assert [each.kind for each in engine.layers[:2]] == ["Reformat", "ConvActPool"]
    assert engine.layers[0].origin == "QDQ"
    assert engine.layers[0].inputs == (Tensor("input.1", (32, 3, 224, 224), "Row major linear FP32", "FP32"),)
    assert engine.layers[1].weights == "INT8"
    assert [each.sparse_weights for each in engine.layers] == [None, False, False, False, False, None, None]
    assert all(each.onnx is None for each in engine.layers)


def test_an_engine_that_was_not_built_with_details_gives_names() -> None:
    engine = parse_layers('{"Layers": ["a + b"\n,"c"\n],\n"Bindings": ["x"\n,"y"\n]}', "f")
    assert engine.layers == (LayerInfo("a + b"), LayerInfo("c"))
    assert not engine.detailed
    assert not parse_layers('{"Layers": [{"Name": "a"}]}', "f").detailed


def test_keys_of_older_versions() -> None:
    raw = {
        "name": "c",
        "layerType": "CaskConvolution",
        "inputs": [{"name": "x", "dimensions": [1], "format/datatype": f"{WIDE}."}],
        "weights": {"type": "Int8", "count": 1},
        "allowSparse": 1,
        "tacticName": "t",
    }
    (layer,) = parse_layers(json.dumps({"Layers": [raw]}), "f").layers
    assert layer.sparse_weights is True
    assert (layer.kind, layer.weights, layer.tactic) == ("CaskConvolution", "INT8", "t")
    assert layer.inputs[0].type == "INT8"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Row major linear FP32", "FP32"),
        ("Channel major FP16 format where channel % 8 == 0", "FP16"),
        (WIDE, "INT8"),
        ("Row major linear UInt8 format", "UINT8"),
        ("Row major linear BFloat16 format", "BF16"),
        ("Channel major INT8 format where channel == 4 and column stride % 32 == 0", "INT8"),
        ("Row major linear BOOL", "BOOL"),
        ("Half", "FP16"),
        ("Float", "FP32"),
        ("Unknown format", ""),
        ("N/A due to dynamic shapes", ""),
        ("", ""),
    ],
)
def test_types_in_formats(text: str, expected: str) -> None:
    assert type_of(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("[ONNX Layer: a]", ("a",)),
        ("[ONNX Layer: a]\x1e[ONNX Layer: b]\x1f[ONNX Layer: a]", ("a", "b")),
        ("[ONNX Layer: a[0]][ONNX Layer: b]", ("a[0]", "b")),
        ("something else", ()),
    ],
)
def test_nodes_in_metadata(text: str, expected: tuple[str, ...]) -> None:
    assert onnx_names(text) == expected


@pytest.mark.parametrize("end", range(1, len(TEXT.rstrip()), 397))
def test_a_file_that_is_cut_off(end: int) -> None:
    with pytest.raises(ExportError, match=r"^f: is not JSON, or is cut off"):
        parse_layers(TEXT[:end], "f")


@pytest.mark.parametrize("text", ["[]", "{}", "3", '{"Layers": {}}', sample("8.5", "profile").read_text()])
def test_another_file(text: str) -> None:
    with pytest.raises(ExportError, match=r"^f: is not what trtexec writes for --exportLayerInfo"):
        parse_layers(text, "f")


@given(st.lists(st.dictionaries(st.sampled_from(KEYS), ANYTHING) | ANYTHING), ANYTHING)
def test_any_values_in_place_of_the_right_ones(layers: list[object], bindings: object) -> None:
    engine = parse_layers(json.dumps({"Layers": layers, "Bindings": bindings}), "f")
    assert len(engine.layers) == sum(isinstance(each, str | dict) for each in layers)


@given(st.binary() | damaged(TEXT).map(str.encode))
def test_any_bytes_give_a_result_or_one_line(data: bytes) -> None:
    said = refusal(parse_layers, data)
    assert said.startswith("f: ")
    assert "\n" not in said
