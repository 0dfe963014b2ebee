from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import onnx
import pytest

from onnxcomp.deploy.engines import record as records
from onnxcomp.deploy.engines.build import without_pairs
from onnxcomp.deploy.engines.source import read
from onnxcomp.deploy.engines.wish import Wish
from onnxcomp.deploy.trtexec.failures import Failure, Kind
from onnxcomp.errors import OnnxcompError
from tests import zoo
from tests.deploy.engines.networks import Bench, quantised

VERSIONS = ("8.5.2", "8.6.1", "10.3.0", "11.1.0")


def failing_node(path: Path) -> str:
    """A convolution in the middle."""
    return [node.name for node in onnx.load(path).graph.node if node.op_type == "Conv"][1]


@pytest.mark.parametrize("version", VERSIONS)
def test_builds_with_every_version(version: str, bench: Bench, network: Path) -> None:
    bench.settings(version=version)
    output = bench.folder / "d.plan"
    record = bench.request(network, Wish(batch=4)).write(output)
    assert output.read_bytes().startswith(b"a stand-in's engine\n")
    assert record == records.find(output)
    assert record.tensorrt == version
    assert record.shapes == {"input": [4, 3, 8, 8]}
    assert record.onnx == str(network)
    assert record.sha256 == hashlib.sha256(output.read_bytes()).hexdigest()
    assert record.dequantised == ()
    assert any("Engine built in" in line for line in bench.log)
    strong = version.startswith("11")  # types are those of the file, and the record says what that means
    assert any("has no --fp16" in note for note in record.notes) == strong


def test_the_same_is_not_built_again(bench: Bench, network: Path) -> None:
    first = bench.request(network).write(bench.folder / "a.plan")
    bench.log.clear()
    second = bench.request(network).write(bench.folder / "b.plan")
    assert (bench.folder / "a.plan").read_bytes() == (bench.folder / "b.plan").read_bytes()
    assert first == second
    assert bench.log == []
    assert "built before" in bench.told[-1]


@pytest.mark.parametrize("change", ["wish", "version", "file", "gpu"])
def test_what_is_not_the_same_is_built(change: str, bench: Bench, network: Path) -> None:
    bench.request(network).write(bench.folder / "a.plan")
    bench.log.clear()
    request = bench.request(network, Wish(fp16=False) if change == "wish" else None)
    if change == "version":
        bench.settings(version="8.6.1")
        request = bench.request(network)
    if change == "file":
        request = bench.request(quantised(bench.folder / "other.onnx", "densenet"))
    if change == "gpu":
        object.__setattr__(request.runtime, "gpu", "another")
    request.write(bench.folder / "b.plan")
    assert bench.log != []
    assert len([name for name in bench.cached if name.endswith(".plan")]) == 2


def test_an_engine_that_is_cut_off_is_built_again(bench: Bench, network: Path) -> None:
    request = bench.request(network)
    request.write(bench.folder / "a.plan")
    Path(request.engine).write_bytes(b"")
    request.write(bench.folder / "b.plan")
    assert (bench.folder / "b.plan").stat().st_size > 0


def test_an_engine_whose_record_in_the_cache_is_damaged_is_built_again(bench: Bench, network: Path) -> None:
    request = bench.request(network)
    made = request.write(bench.folder / "a.plan")
    cached = Path(request.engine).with_suffix(".json")
    cached.write_text("")
    assert request.write(bench.folder / "b.plan").sha256 == made.sha256
    assert records.parse(cached.read_text(), "cache").digest == made.digest


def test_a_layer_without_a_kernel_goes_back_to_float(bench: Bench, network: Path) -> None:
    node = failing_node(network)
    bench.settings(fault="no_implementation", node=node)
    record = bench.request(network).write(bench.folder / "d.plan")
    assert record.dequantised
    assert set(record.dequantised) <= {n.name for n in onnx.load(network).graph.node}
    assert len(bench.told) == 1
    assert node in bench.told[0]
    assert f"{len(record.dequantised)} Q and DQ nodes around it are removed" in bench.told[0]
    assert records.find(bench.folder / "d.plan") == record


def test_a_float_layer_without_a_kernel_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "float.onnx"
    onnx.save(zoo.resnet(size=8), path)
    source = read(path)
    assert without_pairs(source, Failure(Kind.NO_IMPLEMENTATION, subject=failing_node(path))) is None
    assert without_pairs(source, Failure(Kind.GPU_MEMORY)) is None


def test_pairs_stay_where_memory_was_short(network: Path) -> None:
    """A kernel may only not have fitted then."""
    failure = Failure(Kind.NO_IMPLEMENTATION, subject=failing_node(network))
    found = without_pairs(read(network), failure)
    assert found is not None
    assert found[1]
    assert without_pairs(read(network), dataclasses.replace(failure, short_of_memory=True)) is None


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("gpu_memory", "the GPU's memory does not suffice"),
        ("host_memory", "memory"),
        ("disk_full", "the disk there is full"),
        ("killed", "trtexec was killed"),
        ("parse", "TensorRT's parser does not take"),
        ("no_gpu", "trtexec finds no GPU"),
        ("crash", "trtexec crashed"),
    ],
)
def test_a_failure_is_one_line_and_leaves_nothing(
    fault: str, message: str, bench: Bench, network: Path
) -> None:
    bench.settings(fault=fault, node=failing_node(network))
    before = {path.name for path in bench.folder.iterdir()}
    with pytest.raises(OnnxcompError, match=message) as error:
        bench.request(network).write(bench.folder / "d.plan")
    assert "\n" not in str(error.value)
    assert {path.name for path in bench.folder.iterdir()} - before == {"cache"}
    assert bench.cached == []


def test_outputs_that_cannot_be_written_are_refused_first(bench: Bench, network: Path) -> None:
    with pytest.raises(OnnxcompError, match="there is no such folder"):
        bench.request(network).write(bench.folder / "missing" / "d.plan")
    with pytest.raises(OnnxcompError, match="is the input too"):
        bench.request(network).write(network)
    assert bench.log == []


def test_a_damaged_record_is_said(bench: Bench, network: Path) -> None:
    output = bench.folder / "d.plan"
    bench.request(network).write(output)
    records.beside(output).write_text(json.dumps({"onnx": 1}))
    with pytest.raises(OnnxcompError, match="is not what onnxcomp writes beside an engine"):
        records.find(output)
    assert records.find(bench.folder / "none.plan") is None
