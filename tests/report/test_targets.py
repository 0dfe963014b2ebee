from __future__ import annotations

from onnxcomp.deploy.targets import TARGETS
from onnxcomp.report import targets as rows


def test_a_row_has_a_cell_for_each_column() -> None:
    for target in TARGETS.values():
        assert len(rows.row(target)) == len(rows.COLUMNS)
        assert all(rows.row(target))


def test_what_zeros_and_patterns_buy() -> None:
    cells = {name: dict(zip(rows.COLUMNS, rows.row(target), strict=True)) for name, target in TARGETS.items()}
    assert all(each["zeros"] == "no speed" for each in cells.values())
    assert cells["xavier"]["2:4 zeros"] == "no speed"
    assert cells["orin"]["2:4 zeros"] == "at most 2x, from 256 channels"
    assert cells["orin-dla"]["2:4 zeros"] == "at most 2x, from 65 channels"
    assert cells["xavier"]["INT8"] == "at most 2.0x FP16"
    assert cells["ort-cpu"]["fewer channels"] == "speed, by 16s"


def test_the_facts_of_one() -> None:
    facts = dict(rows.facts(TARGETS["xavier"]))
    assert (facts["compute capability"], facts["TensorRT"], facts["newest JetPack"]) == ("7.2", "8.5", "5.1")
    assert (facts["bandwidth"], facts["INT8"]) == ("136.5 GB/s", "22 Top/s")
    assert dict(rows.facts(TARGETS["tensorrt-11"]))["memory"] == "-"
    assert dict(rows.facts(TARGETS["xavier-dla"]))["Q/DQ"] == "none: a calibration cache beside the file"
