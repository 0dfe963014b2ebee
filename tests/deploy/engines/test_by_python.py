"""TensorRT's Python API: what is asked of it, up to the import that fails without the package."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcomp.deploy.engines import by_python
from onnxcomp.deploy.engines.by_python import ByPython, summary
from onnxcomp.deploy.engines.runtime import FailedError, Running
from onnxcomp.deploy.engines.source import read
from onnxcomp.deploy.engines.wish import Wish
from onnxcomp.deploy.trtexec.exports.runs import parse_runs
from onnxcomp.deploy.trtexec.flags import FlagError
from onnxcomp.deploy.trtexec.version import Version
from onnxcomp.errors import MissingPackageError
from tests.deploy.engines.networks import quantised

ABSENT = importlib.util.find_spec("tensorrt") is None
without = pytest.mark.skipif(not ABSENT, reason="TensorRT is installed here")
with_gpu = pytest.mark.skipif(ABSENT, reason="TensorRT is not installed here, and it needs a GPU")
OLD, NEW = ByPython(Version(10, 3, 0), "H200"), ByPython(Version(11, 1, 0), "H200")


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return quantised(tmp_path / "d.onnx", target="orin")


@without
def test_the_package_is_asked_for() -> None:
    with pytest.raises(
        MissingPackageError, match=r"tensorrt is not installed; run: pip install 'onnxcomp\[trt\]'"
    ):
        ByPython.find()


@without
def test_a_build_comes_as_far_as_the_import(network: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    with pytest.raises((FailedError, MissingPackageError)):
        OLD.build(network, read(network), Wish(), str(tmp_path / "e"), str(tmp_path / "t"), lines.append)
    assert not (tmp_path / "e").exists()


@without
def test_a_measurement_comes_as_far_as_the_import(tmp_path: Path) -> None:
    with pytest.raises(MissingPackageError):
        OLD.measure("d.plan", Running({}), tmp_path, print)


def test_a_dla_is_for_trtexec(network: Path) -> None:
    with pytest.raises(FlagError, match="engines for a DLA are built by trtexec"):
        OLD.build(network, read(network), Wish(dla_core=0), "e", "t", print)


def test_levels_came_with_8_6(network: Path) -> None:
    wish = Wish(optimization_level=2)
    OLD.check(read(network), wish)
    with pytest.raises(FlagError, match=r"TensorRT 8.5.3 has no optimization levels"):
        ByPython(Version(8, 5, 3), "GPU").check(read(network), wish)


def options(runtime: ByPython, network: Path, wish: Wish, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Polygraphy's CreateConfig would be given; its Profile keeps what is added."""
    import polygraphy.backend.trt as trt

    class Profile(dict[str, Any]):
        def add(self, name: str, *shapes: Any) -> None:
            self[name] = shapes

    monkeypatch.setattr(trt, "Profile", Profile)
    source = read(network)
    return runtime._config(source, wish, "t", typed=runtime.version >= by_python.TYPED)


def test_flags_where_types_are_weak(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = options(OLD, network, Wish(batch=2, sparse=True, optimization_level=4), monkeypatch)
    assert found == {
        "tf32": True,
        "sparse_weights": True,
        "load_timing_cache": "t",
        "int8": True,
        "fp16": True,
        "profiles": [{"input": ((2, 3, 8, 8),) * 3}],
        "builder_optimization_level": 4,
    }


def test_no_type_flags_where_types_are_strong(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = options(NEW, network, Wish(), monkeypatch)
    assert not {"int8", "fp16"} & set(found)


def test_the_summary_of_runs() -> None:
    found = summary([1.0, 2.0, 3.0, 2.0])
    assert found.throughput == pytest.approx(500.0)
    assert found.latency is not None
    assert (found.latency.min, found.latency.max, found.latency.mean, found.latency.median) == (1, 3, 2, 2)
    assert dict(found.latency.percentiles)[99.0] == pytest.approx(np.percentile([1, 2, 2, 3], 99))


def test_layer_times_are_in_trtexecs_form() -> None:
    count, first, second = json.loads(by_python._profile({"a": [1.0, 3.0], "b": [4.0, 4.0]}, 2))
    assert count == {"count": 2}
    assert first == {
        "name": "a",
        "timeMs": 4,
        "averageMs": 2,
        "medianMs": 2,
        "percentage": pytest.approx(100 / 3),
    }
    assert second["percentage"] == pytest.approx(200 / 3)


def test_the_times_of_runs_are_in_trtexecs_form() -> None:
    found = parse_runs(by_python._times([1.0, 2.0, 4.0]), "times.json")
    assert [*found.compute] == [*found.latency] == [1.0, 2.0, 4.0]
    assert found.seconds == pytest.approx(0.007)


def test_polygraphys_errors_say_why() -> None:
    from polygraphy.logger import G_LOGGER

    def build() -> None:
        G_LOGGER.info("building")
        G_LOGGER.error("Could not find any implementation for node conv1 + relu1.")
        G_LOGGER.critical("Invalid Engine. Please ensure the engine was built correctly")

    seen: list[str] = []
    with pytest.raises(FailedError) as failed, by_python._logged(seen.append):
        build()
    assert failed.value.failure.kind.value == "no-implementation"
    assert failed.value.failure.subject == "conv1 + relu1"
    assert any("building" in line for line in seen)
    assert not G_LOGGER.use_python_logging_system


@with_gpu
def test_builds_measures_and_infers(network: Path, tmp_path: Path) -> None:
    runtime = ByPython.find()
    engine = str(tmp_path / "d.plan")
    runtime.build(network, read(network), Wish(batch=2), engine, str(tmp_path / "t"), print)
    running = Running({"input": (2, 3, 8, 8)}, warm_up=10, duration=1)
    assert runtime.measure(engine, running, tmp_path, print).log.summary is not None
    outputs = runtime.infer(engine, {"input": np.zeros((2, 3, 8, 8), np.float32)}, running)
    assert outputs["output"].shape == (2, 10)
