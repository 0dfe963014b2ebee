from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnxcomp import model as models
from onnxcomp import pipeline, recipe
from onnxcomp.deploy.finalize import finalize
from onnxcomp.deploy.targets import get_target
from onnxcomp.model import Model, from_proto
from onnxcomp.report.accounting_rows import fact_rows, target_line, target_rows
from onnxcomp.report.inspection import Inspection, inspect
from tests import zoo
from tests.deploy.kinds import KINDS


def inspected(model: Model, folder: Path) -> Inspection:
    models.save(model, folder / "m.onnx")
    return inspect(folder / "m.onnx")


@pytest.fixture
def two_four(tmp_path: Path) -> Inspection:
    """768 -> 256 -> 10, the first layer in a 2:4 pattern, 98,304 of 196,608 + 2,560 weights zero."""
    model = from_proto(zoo.mlp(hidden=256))
    weight = model.constants()["w1"]
    rows, columns = np.indices(weight.shape)
    weight.values = weight.values * ((rows + 2 * columns) % 4 > 1).astype(np.float32)
    return inspected(model, tmp_path)


def test_facts(two_four: Inspection) -> None:
    assert fact_rows(two_four) == [
        ("zero weights", "98,304 (49.4 %)"),
        ("layers", "1 dense, 1 2:4"),
        ("2:4 pattern", "in 1 of 2 layers"),
        ("MACs with a zero", "98,304 (49.4 %): an ideal machine would skip them"),
    ]


def test_a_line_for_each_target(two_four: Inspection) -> None:
    lines = dict(target_line(two_four, target) for target in KINDS.values())
    sparse = (
        "only zeros in a 2:4 pattern bring speed, where TensorRT picks a sparse kernel; it"
        " multiplies all others like any weight; here at most 98,304 (49.4 %) of the MACs"
    )
    assert lines == {
        "on xavier": "zeros bring no speed: TensorRT multiplies them like any weight, and Volta (sm_72) has"
        " no 2:4 sparse tensor cores",
        "on xavier-dla": "zeros bring no speed: the DLA of the Xavier multiplies them like any weight",
        "on orin": sparse,
        "on orin-dla": "only zeros in a 2:4 pattern bring speed, in INT8 convolutions of more than 64"
        " channels; here at most 98,304 (49.4 %) of the MACs",
        "on tensorrt-11": sparse,
        "on ort-cpu": "zeros bring no speed: ONNX Runtime's CPU kernels are dense",
    }


def test_orin_in_full(two_four: Inspection) -> None:
    assert target_rows(two_four, get_target("orin")) == [
        ("target", "orin: Jetson AGX Orin, TensorRT 10.3"),
        ("MACs saved there", "0"),
        ("zeros there", get_target("orin").sparsity),
        (
            "2:4 there",
            "0 of 0 convolutions and 1 of 2 other layers have the 256 input and output channels from which"
            " TensorRT would consider it, by rule",
        ),
        ("", "1 of these have the pattern: at most 98,304 (49.4 %) of the MACs saved"),
        ("", "TensorRT decides by timing a sparse and a dense kernel for each"),
        ("widths", "multiples of 32 in 1 of 2 layers"),
    ]


@pytest.mark.parametrize(("target", "alignment"), [("xavier", 32), ("ort-cpu", 16)])
def test_a_target_without_2_4(target: str, alignment: int, two_four: Inspection) -> None:
    assert [name for name, _ in target_rows(two_four, get_target(target))] == [
        *("target", "MACs saved there", "zeros there", "widths"),
    ]
    assert target_rows(two_four, get_target(target))[-1][1] == f"multiples of {alignment} in 1 of 2 layers"


def test_a_network_without_wide_layers_has_nothing_for_2_4(tmp_path: Path) -> None:
    found = inspected(from_proto(zoo.resnet()), tmp_path)
    assert target_line(found, get_target("orin"))[1].endswith("; here it would consider none")


def test_cut_channels_are_what_is_saved(tmp_path: Path) -> None:
    model = pipeline.apply(
        from_proto(zoo.resnet(widths=(32, 64))), recipe.parse("channels{sparsity=0.5 align=8}")
    )
    found = inspected(model, tmp_path)
    cut = found.accounting.cut
    assert cut is not None
    assert found.macs is not None
    assert cut.macs == cut.macs_before - found.macs
    macs = f"{cut.macs:,} ({100 * cut.macs / cut.macs_before:.1f} %)"
    weights = f"{cut.parameters:,} ({100 * cut.parameters / cut.parameters_before:.1f} %)"
    assert fact_rows(found)[-2:] == [
        ("cut with channels", f"{macs} of the MACs, saved on every target"),
        ("", f"{weights} of the weights"),
    ]
    assert target_rows(found, get_target("xavier"))[1] == (
        "MACs saved there",
        f"{macs}: those of the channels cut",
    )


def test_channels_that_training_will_close_are_not_cut_yet(tmp_path: Path) -> None:
    model = pipeline.apply(from_proto(zoo.resnet()), recipe.parse("channels{schedule=cubic align=4}"))
    found = inspected(model, tmp_path)
    assert fact_rows(found)[-1] == ("cut channels", "none yet: finalize cuts those that training closes")
    assert target_rows(found, get_target("xavier"))[1][1] == "0 (0.0 %): those of the channels cut"


def test_a_finalized_file_promises_no_cut(tmp_path: Path) -> None:
    """Training closed nothing: finalize has had its turn."""
    model = pipeline.apply(from_proto(zoo.resnet()), recipe.parse("channels{schedule=cubic align=4}"))
    found = inspected(finalize(model, get_target("orin")), tmp_path)
    expected = ("cut channels", "none: training had closed none that finalize could cut")
    assert fact_rows(found)[-1] == expected


def test_dead_channels_are_named(tmp_path: Path) -> None:
    model = from_proto(zoo.resnet())
    weight = model.constants()["fc.weight"]
    weight.values = weight.values * (np.arange(24) > 2).astype(np.float32)
    found = inspected(model, tmp_path)
    text = "0 outputs and 3 inputs of layers have weights of 0 alone and are still computed"
    assert ("dead channels", text) in fact_rows(found)


def test_an_unknown_number_is_called_so(two_four: Inspection) -> None:
    account = replace(two_four.accounting, macs_of_zeros=None)
    rows = dict(fact_rows(replace(two_four, macs=None, accounting=account)))
    assert rows["MACs with a zero"].startswith("an unknown number: ")
