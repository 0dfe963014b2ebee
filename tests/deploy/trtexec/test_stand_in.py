"""The stand-in for trtexec behaves as the documents say, and what onnxcomp reads of it is right."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxcomp.deploy.trtexec import flags
from onnxcomp.deploy.trtexec.failures import Kind, find_failure
from onnxcomp.deploy.trtexec.flags import Build, Infer, Measure
from onnxcomp.deploy.trtexec.log import Log, Stage, read_log
from onnxcomp.deploy.trtexec.values import read_outputs, write_input
from onnxcomp.deploy.trtexec.version import supported_version
from tests.deploy.trtexec import stand_in
from tests.deploy.trtexec.installed import STAND_IN, VERSIONS, built, install, run

EVERY = list(VERSIONS)
OLD = [version for version in EVERY if version != "11.1.0"]


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Q, Q/DQ of the weight, Conv, Relu, then a float Conv: input (N, 3, 4, 4), output (N, 10)."""
    path = tmp_path / "m.onnx"
    save(path)
    return path


def save(path: Path, *, quantized: bool = True) -> None:
    one = {"scale": np.float32(0.1), "zero": np.int8(0), "w": np.ones((8, 3, 1, 1), np.float32)}
    more = {"v": np.ones((10, 8, 4, 4), np.float32)}
    pair = [
        helper.make_node("QuantizeLinear", ["input", "scale", "zero"], ["iq"], "Q0"),
        helper.make_node("DequantizeLinear", ["iq", "scale", "zero"], ["id"], "DQ0"),
        helper.make_node("QuantizeLinear", ["w", "scale", "zero"], ["wq"], "Q1"),
        helper.make_node("DequantizeLinear", ["wq", "scale", "zero"], ["wd"], "DQ1"),
    ]
    first = ["id", "wd"] if quantized else ["input", "w"]
    nodes = [
        *(pair if quantized else []),
        helper.make_node("Conv", first, ["a"], "conv1"),
        helper.make_node("Relu", ["a"], ["b"], "relu1"),
        helper.make_node("Conv", ["b", "v"], ["c"]),
        helper.make_node("Flatten", ["c"], ["logits"], "flat"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in {**one, **more}.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), path)


def test_is_a_script_of_the_standard_library_alone(tmp_path: Path) -> None:
    assert STAND_IN.stat().st_mode & stat.S_IXUSR
    there = install(tmp_path)
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(there), "--help"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("version", EVERY)
def test_help_has_the_banner_and_the_options(version: str, tmp_path: Path) -> None:
    code, text = run(install(tmp_path, version=version), "--help")
    assert code == 0
    assert supported_version(text) == VERSIONS[version]
    assert "--saveEngine" in text
    assert ("--int8" in text.split()) == (version != "11.1.0")
    assert ("[b106]" in text) == (version == "11.1.0")


def test_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = install(tmp_path, version="8.5.2")
    monkeypatch.setenv("STAND_IN_VERSION", "10.3.0")
    assert supported_version(run(there, "--help")[1]) == (10, 3, 0)


def test_unknown_settings_are_an_error(tmp_path: Path) -> None:
    assert run(install(tmp_path, fault="none such"), "--help")[0] == 1
    assert run(install(tmp_path, colour="red"), "--help")[0] == 1


@pytest.mark.parametrize(
    ("version", "option"),
    [("8.5.2", "--skipInference"), ("8.5.2", "--builderOptimizationLevel=3"), ("8.5.2", "--stronglyTyped"),
     ("8.6.1", "--stronglyTyped"), ("10.3.0", "--buildOnly"), ("10.3.0", "--workspace=1024"),
     ("10.3.0", "--explicitBatch"), ("11.1.0", "--int8"), ("11.1.0", "--fp16"), ("11.1.0", "--best"),
     ("11.1.0", "--calib=c"), ("11.1.0", "--precisionConstraints=obey"),
     ("11.1.0", "--layerPrecisions=a:fp16"), ("10.3.0", "--includeDataTransfers"), ("8.5.2", "--made-up")],
)  # fmt: skip
def test_an_option_of_another_version_is_an_error(version: str, option: str, tmp_path: Path) -> None:
    code, text = run(install(tmp_path, version=version), "--onnx=m.onnx", option)
    assert code == 1
    name, _, value = option.partition("=")
    assert f"[E] Unknown option: {name} {value}\n" in text
    assert "=== Build Options ===" in text  # the help comes with it
    assert "&&&& FAILED TensorRT.trtexec [TensorRT v" in text
    failure = find_failure(text, code)
    assert failure is not None
    assert (failure.kind, failure.subject) == (Kind.OPTION, name)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--onnx=m", "--verbose", "--verbose"], "Unknown option: --verbose"),
        (["--loadEngine=a", "--saveEngine=b"], "Incompatible load and save engine options selected"),
        (["--verbose"], "Model missing or format not recognized"),
        (["--onnx=m", "--duration=x"], "stoi"),
    ],
)
def test_wrong_command_lines(words: list[str], says: str, tmp_path: Path) -> None:
    code, text = run(install(tmp_path), *words)
    assert code == 1
    assert f"[E] {says}" in text
    failure = find_failure(text, code)
    assert failure is not None
    assert failure.kind is Kind.OPTION


def test_notes_go_to_stdout_and_errors_to_stderr(tmp_path: Path) -> None:
    """samples/common/logging.h: kINFO and below to cout, warnings and errors to cerr."""
    there = install(tmp_path)
    done = subprocess.run([there, "--onnx=none.onnx"], capture_output=True, text=True, check=False)
    assert "[I] === Model Options ===" in done.stdout
    assert "[E]" not in done.stdout
    assert "[E] Failed to parse onnx file" in done.stderr
    assert "[I]" not in done.stderr


def words_for(version: str, network: Path, folder: Path) -> tuple[list[str], list[str], Measure]:
    build = Build(str(network), str(folder / "m.plan"), int8=True, fp16=True, sparse=True,
                  timing_cache=str(folder / "t.cache"), shapes={"input": (2, 3, 4, 4)})  # fmt: skip
    measure = Measure(build.engine, profile=str(folder / "p.json"), layers=str(folder / "l.json"),
                      times=str(folder / "t.json"), shapes={"input": (2, 3, 4, 4)})  # fmt: skip
    known = VERSIONS[version]
    return flags.build_words(build, known), flags.profile_words(measure, known), measure


def read(text: str) -> Log:
    log = read_log(text)
    assert find_failure(text, 0) is None
    return log


@pytest.mark.parametrize("version", EVERY)
def test_build_and_measure_in_every_version(version: str, network: Path, tmp_path: Path) -> None:
    there = install(tmp_path, version=version, eligible=["conv1", "node_of_c"], chosen=["conv1"])
    build, profile, _ = words_for(version, network, tmp_path)
    code, text = run(there, *build)
    assert code == 0, text
    log = read(text)
    assert (log.version, log.passed, log.summary) == (VERSIONS[version], True, None)
    assert (log.gpu, log.capability, log.build_seconds) == ("Xavier", (7, 2), 6.197)
    assert log.sparsity is not None
    assert (log.sparsity.eligible, log.sparsity.chosen) == (2, 1)
    assert (tmp_path / "t.cache").stat().st_size > 0
    code, text = run(there, *profile)
    assert code == 0, text
    log = read(text)
    assert log.stage is Stage.ENDED
    assert log.summary is not None
    assert log.summary.throughput is not None
    assert log.summary.h2d is not None
    assert log.summary.h2d.max == 0  # not copied, in any version
    assert log.summary.gpu is not None
    assert log.summary.gpu == log.summary.latency
    assert [percent for percent, _ in log.summary.gpu.percentiles] == [90, 95, 99]
    assert "CUDA Graph: Enabled" in text


@pytest.mark.parametrize("version", EVERY)
def test_exports_have_the_documented_keys(version: str, network: Path, tmp_path: Path) -> None:
    there = install(tmp_path, version=version)
    build, profile, _ = words_for(version, network, tmp_path)
    assert run(there, *build)[0] == run(there, *profile)[0] == 0
    count, *rows = json.loads((tmp_path / "p.json").read_text())
    assert [*count] == ["count"]
    assert all([*row] == ["name", "timeMs", "averageMs", "medianMs", "percentage"] for row in rows)
    names = [row["name"] for row in rows]
    assert names == ["Q0", "w + Q1 + conv1 + relu1", "node_of_c", "flat"]
    assert sum(row["percentage"] for row in rows) == pytest.approx(100, abs=0.01)  # six digits each
    times = json.loads((tmp_path / "t.json").read_text())
    assert len(times) == count["count"]
    assert [*times[0]] == [
        "startEnqMs", "endEnqMs", "startH2dMs", "endH2dMs", "startComputeMs", "endComputeMs", "startD2hMs",
        "endD2hMs", "h2dMs", "computeMs", "d2hMs", "latencyMs",
    ]  # fmt: skip
    info = json.loads((tmp_path / "l.json").read_text())
    assert [layer["Name"] for layer in info["Layers"]] == names
    new = version == "11.1.0"
    assert [*info] == ["Layers", "I/O Tensors" if new else "Bindings"]
    conv = info["Layers"][1]
    assert ({"Format", "DataType"} <= {*conv["Inputs"][0]}) == new
    assert ("Format/Datatype" in conv["Inputs"][0]) != new
    assert (conv["LayerType"], conv["Weights"]["Type"]) == ("CaskConvolution", "Int8")
    assert info["Layers"][2]["Weights"]["Type"] == ("Float" if new else "Half")
    metadata = "[ONNX Layer: conv1]\x1e[ONNX Layer: relu1]"
    assert conv.get("Metadata") == (None if version == "8.5.2" else metadata)


def test_layers_are_names_where_the_engine_is_not_detailed(network: Path, tmp_path: Path) -> None:
    there, engine = built(tmp_path, network)
    out = tmp_path / "l.json"
    run(there, f"--loadEngine={engine}", f"--exportLayerInfo={out}", "--profilingVerbosity=detailed")
    assert json.loads(out.read_text())["Layers"][-1] == "flat"


@pytest.mark.parametrize("version", EVERY)
def test_a_profile_in_the_same_run_costs_the_summary_up_to_10(
    version: str, network: Path, tmp_path: Path
) -> None:
    there, engine = built(tmp_path, network, version=version)
    exports = {name: tmp_path / f"{name}.json" for name in ("Profile", "Times")}
    words = [f"--export{name}={path}" for name, path in exports.items()]
    code, text = run(there, f"--loadEngine={engine}", *words)
    assert code == 0
    old = version in OLD
    assert (read(text).summary is None) == old
    assert ("The e2e network timing is not reported" in text) == old
    assert exports["Times"].exists() != old
    assert exports["Profile"].exists()


@pytest.mark.parametrize("version", EVERY)
def test_transfers_are_on_up_to_10_and_off_in_11(version: str, network: Path, tmp_path: Path) -> None:
    there, engine = built(tmp_path, network, version=version)
    summary = read(run(there, f"--loadEngine={engine}")[1]).summary
    assert summary is not None
    assert summary.h2d is not None
    assert (summary.h2d.max == 0) == (version not in OLD)


def test_percentiles_are_those_asked_for(network: Path, tmp_path: Path) -> None:
    there, engine = built(tmp_path, network)
    summary = read(run(there, f"--loadEngine={engine}", "--percentile=50,99.9")[1]).summary
    assert summary is not None
    assert summary.gpu is not None
    assert [percent for percent, _ in summary.gpu.percentiles] == [50, 99.9]
    assert summary.gpu.percentiles[0][1] == pytest.approx(summary.gpu.median, rel=1e-3)  # neighbours


def test_unstable_clocks_are_warned_of(network: Path, tmp_path: Path) -> None:
    there, engine = built(tmp_path, network, unstable=3.5)
    (notice,) = read(run(there, f"--loadEngine={engine}")[1]).notices
    assert "vary by 3.5%" in notice.text


@pytest.mark.parametrize(("quantized", "kind"), [(True, None), (False, "made-up")])
def test_int8_without_ranges_is_warned_of(quantized: bool, kind: str | None, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save(path, quantized=quantized)
    there = install(tmp_path)
    notices = read(run(there, f"--onnx={path}", "--int8", "--buildOnly")[1]).notices
    assert [notice.kind for notice in notices] == ([kind] if kind else [])
    if not quantized:
        text = run(there, f"--onnx={path}", "--int8", f"--calib={tmp_path / 'none'}", "--buildOnly")[1]
        assert [notice.kind for notice in read(text).notices] == ["noise"]


@pytest.mark.parametrize("version", EVERY)
def test_outputs_are_the_formulas_of_the_inputs(version: str, network: Path, tmp_path: Path) -> None:
    words = ["--optShapes=input:2x3x4x4"]
    there, engine = built(tmp_path, network, words, version=version)
    batch = np.arange(96, dtype=np.float32).reshape(2, 3, 4, 4) / 96
    given, out = tmp_path / "x.bin", tmp_path / "o.json"
    write_input(given, batch, "input")
    infer = Infer(str(engine), {"input": str(given)}, str(out))
    code, text = run(there, *flags.infer_words(infer, VERSIONS[version]))
    assert code == 0, text
    assert "Data transfers: Enabled" in text
    expected = np.sin(np.arange(10) + 1) * batch.mean(axis=(1, 2, 3), keepdims=True)[..., 0, 0]
    found = read_outputs(out, ["logits"])["logits"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)  # six digits, and float32 sums


def test_outputs_are_the_answers_given_beside_it(network: Path, tmp_path: Path) -> None:
    data = np.ones((1, 3, 4, 4), np.float32)
    digest = hashlib.sha256(data.tobytes()).hexdigest()
    answer = [0.5, *range(8), float("nan")]
    there, engine = built(tmp_path, network, answers={digest: {"logits": answer}})
    given, out = tmp_path / "x.bin", tmp_path / "o.json"
    write_input(given, data, "input")
    run(there, f"--loadEngine={engine}", f"--loadInputs=input:{given}", f"--exportOutput={out}")
    np.testing.assert_array_equal(read_outputs(out)["logits"], [answer])


def test_an_input_of_the_wrong_size_is_an_error(network: Path, tmp_path: Path) -> None:
    there, engine = built(tmp_path, network)
    given = tmp_path / "x.bin"
    given.write_bytes(bytes(8))
    for path, says in ((given, "192 bytes but the file size is 8 bytes"), (tmp_path / "none", "none")):
        code, text = run(there, f"--loadEngine={engine}", f"--loadInputs=input:{path}")
        failure = find_failure(text, code)
        assert failure is not None
        assert failure.kind is Kind.INPUT
        assert says in failure.detail + failure.subject


@pytest.mark.parametrize("version", EVERY)
def test_engines_of_another_version_or_gpu_and_no_engines(
    version: str, network: Path, tmp_path: Path
) -> None:
    there, engine = built(tmp_path, network, version=version)
    other = "8.6.1" if version == "8.5.2" else "8.5.2"
    cut, none = tmp_path / "cut.plan", tmp_path / "none.plan"
    cut.write_bytes(engine.read_bytes()[:100])
    cases = [
        ({"version": version}, network, Kind.BAD_ENGINE),
        ({"version": version}, cut, Kind.BAD_ENGINE),
        ({"version": version}, none, Kind.NO_ENGINE),
        ({"version": version, "capability": "8.7"}, engine, Kind.OTHER_GPU),
        ({"version": other}, engine, Kind.OTHER_VERSION),
    ]
    for settings, path, kind in cases:
        install(tmp_path, **settings)
        code, text = run(there, f"--loadEngine={path}")
        failure = find_failure(text, code)
        assert failure is not None
        assert (code, failure.kind) == (1, kind)


@pytest.mark.parametrize("version", EVERY)
def test_no_implementation_lasts_as_long_as_the_nodes_q_dq(version: str, tmp_path: Path) -> None:
    there = install(tmp_path, version=version, fault="no_implementation", node="conv1")
    path = tmp_path / "m.onnx"
    words = flags.build_words(Build(str(path), str(tmp_path / "m.plan"), int8=True), VERSIONS[version])
    save(path)
    code, text = run(there, *words)
    failure = find_failure(text, code)
    assert failure is not None
    assert (failure.kind, failure.subject) == (Kind.NO_IMPLEMENTATION, "w + Q1 + conv1 + relu1")
    assert not (tmp_path / "m.plan").exists()
    save(path, quantized=False)
    assert run(there, *words)[0] == 0


@pytest.mark.parametrize(
    ("settings", "code", "kind"),
    [
        ({"fault": "no_gpu"}, -6, Kind.NO_GPU),
        ({"fault": "gpu_memory"}, 1, Kind.GPU_MEMORY),
        ({"fault": "host_memory"}, 1, Kind.HOST_MEMORY),
        ({"fault": "parse", "node": "Q1"}, 1, Kind.PARSE),
        ({"fault": "disk_full"}, 1, Kind.DISK),
        ({"fault": "killed"}, -9, Kind.KILLED),
        ({"fault": "crash"}, -11, Kind.CRASHED),
    ],
)
def test_faults_of_a_build(settings: dict, code: int, kind: Kind, network: Path, tmp_path: Path) -> None:
    there, engine = install(tmp_path, **settings), tmp_path / "m.plan"
    found, text = run(there, f"--onnx={network}", f"--saveEngine={engine}", "--int8", "--buildOnly")
    failure = find_failure(text, found)
    assert failure is not None
    assert (found, failure.kind) == (code, kind)
    assert engine.exists() == (kind is Kind.DISK)  # half of it, as trtexec leaves it
    if kind is Kind.PARSE:
        assert failure.subject == "Q1"


def test_no_ranges_at_all_is_a_fault_of_networks_without_q_dq(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save(path, quantized=False)
    code, text = run(install(tmp_path, fault="calibration"), f"--onnx={path}", "--int8", "--buildOnly")
    failure = find_failure(text, code)
    assert failure is not None
    assert failure.kind is Kind.CALIBRATION


def test_files_that_are_no_onnx(tmp_path: Path) -> None:
    there, path = install(tmp_path), tmp_path / "m.onnx"
    for content in (b"", b"no protobuf", bytes(50)):
        path.write_bytes(content)
        code, text = run(there, f"--onnx={path}")
        failure = find_failure(text, code)
        assert failure is not None
        assert (failure.kind, failure.subject) == (Kind.BAD_MODEL, str(path))


def test_memory_that_runs_out_while_measuring(network: Path, tmp_path: Path) -> None:
    there, engine = built(tmp_path, network)
    install(tmp_path, fault="gpu_memory")
    code, text = run(there, f"--loadEngine={engine}")
    failure = find_failure(text, code)
    assert failure is not None
    assert (failure.kind, read_log(text).stage) == (Kind.GPU_MEMORY, Stage.MEASURING)


def test_a_hang_says_nothing_until_it_is_ended(network: Path, tmp_path: Path) -> None:
    there = install(tmp_path, fault="hang")
    with subprocess.Popen([there, f"--onnx={network}"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "timing cache in use" in line:
                break
        assert process.poll() is None
        process.terminate()
        code = process.wait(10)
    failure = find_failure("", code)
    assert failure is not None
    assert failure.kind is Kind.STOPPED


@pytest.mark.parametrize("fault", ["garbage", "truncated"])
def test_damaged_exports(fault: str, network: Path, tmp_path: Path) -> None:
    there, engine = built(tmp_path, network, fault=fault)
    out = tmp_path / "p.json"
    assert run(there, f"--loadEngine={engine}", f"--exportProfile={out}")[0] == 0
    with pytest.raises(ValueError, match=r"line \d+ column \d+"):
        json.loads(out.read_text())


def test_an_export_that_cannot_be_written_is_passed_over(network: Path, tmp_path: Path) -> None:
    there, engine = built(tmp_path, network)
    out = tmp_path / "none" / "p.json"
    assert run(there, f"--loadEngine={engine}", f"--exportProfile={out}")[0] == 0
    assert not out.exists()


def test_delay_makes_a_slow_log(network: Path, tmp_path: Path) -> None:
    there = install(tmp_path, delay=0.02)
    text = run(there, f"--onnx={network}", "--buildOnly")[1]
    assert len(text.splitlines()) > 10
    environment = {**os.environ, "STAND_IN_DELAY": "30"}
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([there, "--help"], env=environment, timeout=0.3, check=False, capture_output=True)


def test_the_older_name_still_works_in_8_6(network: Path, tmp_path: Path) -> None:
    code, text = run(install(tmp_path, version="8.6.1"), f"--onnx={network}", "--buildOnly")
    assert code == 0
    assert "--buildOnly flag has been deprecated by --skipInference flag." in text


def test_given_times_are_used(network: Path, tmp_path: Path) -> None:
    there, engine = built(tmp_path, network, times={"flat": 12.5})
    out = tmp_path / "p.json"
    run(there, f"--loadEngine={engine}", f"--exportProfile={out}")
    assert json.loads(out.read_text())[-1]["averageMs"] == 12.5


def test_reads_the_same_graph_as_onnx(network: Path) -> None:
    nodes, weights, inputs, outputs = stand_in.read_onnx(network)
    graph = onnx.load(network).graph
    assert [node["type"] for node in nodes] == [node.op_type for node in graph.node]
    assert [node["inputs"] for node in nodes] == [[*node.input] for node in graph.node]
    assert weights == {tensor.name for tensor in graph.initializer}
    assert inputs == [("input", [-1, 3, 4, 4], TensorProto.FLOAT)]
    assert outputs == [("logits", [-1, 10], TensorProto.FLOAT)]


def test_a_copy_needs_no_file_beside_it(tmp_path: Path) -> None:
    there = tmp_path / "trtexec"
    shutil.copy(STAND_IN, there)
    assert supported_version(run(there, "--help")[1]) == (8, 5, 2)
