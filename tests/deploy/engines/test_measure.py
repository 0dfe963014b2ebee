from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

from onnxcomp.deploy.engines import record as records
from onnxcomp.deploy.engines.measure import measure, running_of
from onnxcomp.deploy.engines.runtime import Measured, Running
from onnxcomp.deploy.engines.wish import Wish
from onnxcomp.errors import OnnxcompError
from tests.deploy.engines.networks import Bench, quantised
from tests.deploy.engines.test_record import RECORD


def test_a_profile_says_under_what_it_was_measured(bench: Bench) -> None:
    bench.settings(unstable=12)
    network, output = quantised(bench.folder / "d.onnx"), bench.folder / "d.plan"
    record = bench.request(network, Wish(batch=3)).write(output)
    running = running_of(record, Running({}, warm_up=0, duration=1))
    found = measure(output, record, bench.runtime(), running, bench.log.append, onnx.load(network))
    conditions = found.conditions
    assert (conditions.engine, conditions.onnx) == (str(output), str(network))
    assert (conditions.gpu, conditions.tensorrt, conditions.batch) == ("Xavier", "8.5.2", 3)
    assert any("times vary by 12%" in note for note in conditions.notes)
    assert found.summary is not None
    nodes = {node.name for node in onnx.load(network).graph.node}
    assert {name for layer in found.layers for name in layer.nodes} <= nodes


def test_an_engine_still_in_the_cache_is_not_copied(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    output = bench.folder / "d.plan"
    record = bench.request(quantised(bench.folder / "d.onnx")).write(output)
    runtime = bench.runtime()
    loaded: list[str] = []

    def run(engine: str, *rest: object) -> None:
        loaded.append(engine)
        raise OnnxcompError("enough")

    monkeypatch.setattr(type(runtime), "measure", lambda self, engine, *rest: run(engine, *rest))
    cached = bench.folder / f"cache/onnxcomp/engines/{record.key}.plan"
    for content in (cached.read_bytes(), b"another"):
        cached.write_bytes(content)
        with pytest.raises(OnnxcompError, match="enough"):
            measure(output, record, runtime, Running({}), print)
    assert loaded == [str(cached), str(output)]


def test_a_failure_names_the_machine_and_the_engine(bench: Bench) -> None:
    path = bench.folder / "text.plan"
    path.write_text("hello")
    with pytest.raises(OnnxcompError, match=r"^this machine: .*text.plan: the file is no TensorRT engine"):
        measure(path, records.find(path), bench.runtime(), Running({}), print)


@pytest.mark.parametrize("name", ["profile", "layers", "times"])
def test_a_damaged_export_names_the_machine_and_the_engine(
    name: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = bench.folder / "d.plan"
    record = bench.request(quantised(bench.folder / "d.onnx")).write(output)
    runtime = bench.runtime()
    whole = type(runtime).measure

    def cut_off(*given: Any) -> Measured:
        found = whole(*given)
        path: Path = getattr(found, name)
        path.write_bytes(path.read_bytes()[:-20])
        return found

    monkeypatch.setattr(type(runtime), "measure", cut_off)
    with pytest.raises(OnnxcompError, match=rf"^this machine: \S+d\.plan: {name}\.json is .*; run it again"):
        measure(output, record, runtime, running_of(record, Running({}, warm_up=0, duration=1)), print)


def test_what_the_record_knows_need_not_be_given() -> None:
    record = RECORD
    assert running_of(None, Running({})) == Running({})
    assert running_of(record, Running({})).shapes == {"input": (1, 3, 8, 8)}
    given = Running({"input": (1, 3, 8, 8)}, dla_core=1)
    assert running_of(record, given) == given
    with pytest.raises(OnnxcompError, match=r"^--shape: the engine takes exactly input:1x3x8x8; leave"):
        running_of(record, Running({"input": (2, 3, 8, 8)}))
