from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from onnxcomp import pipeline, recipe, runtime
from onnxcomp.errors import ModelError
from onnxcomp.model import from_proto, save
from tests import run, zoo
from tests.deploy.integer.small import integers, node, pair, start


def test_settings_are_explicit() -> None:
    session = runtime.session(from_proto(zoo.mlp()), threads=1)
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.log_severity_level == 4
    assert session.get_providers() == ["CPUExecutionProvider"]


@pytest.mark.parametrize("optimize", [True, False])
def test_a_compression_form_runs_without_labels(optimize: bool, tmp_path: Path) -> None:
    whole = pipeline.apply(from_proto(zoo.resnet()), recipe.parse("distill"))
    path = tmp_path / "c.onnx"
    save(whole, path)
    images = run.images(whole)
    (logits,) = runtime.session(path, threads=1, optimize=optimize).run(None, {"input": images})
    np.testing.assert_allclose(logits, run.logits(whole, images), atol=1e-5)


def test_tensors_inside_the_graph_can_be_asked_for() -> None:
    model = from_proto(zoo.mlp())
    session = runtime.session(model, outputs=["active", "output"], threads=1)
    active, logits = session.run(None, {"input": run.images(model)})
    assert active.shape == (4, 32)
    assert active.min() == 0
    np.testing.assert_allclose(logits, run.logits(model, run.images(model)), atol=1e-5)


def test_onnx_runtime_s_reason_is_one_line() -> None:
    model = from_proto(zoo.mlp())
    next(node for node in model.graph.nodes if node.op == "Relu").op = "Reluu"
    with pytest.raises(ModelError, match=r"^model: ONNX Runtime cannot load it: .*Reluu") as caught:
        runtime.session(model, threads=1)
    assert "\n" not in str(caught.value)
    assert "ONNXRuntimeError" not in str(caught.value)


def test_a_damaged_proto_is_a_model_error() -> None:
    data = zoo.mlp().SerializeToString()[:1000]
    with pytest.raises(ModelError, match=r"^m\.onnx: ONNX Runtime cannot load it"):
        runtime.session_of_proto(data, threads=1, where="m.onnx")


def test_a_proto_runs_as_it_is() -> None:
    proto = zoo.mlp()
    onnx.checker.check_model(proto)
    session = runtime.session_of_proto(proto.SerializeToString(), threads=1)
    assert session.get_outputs()[0].shape == ["N", 10]


@pytest.mark.parametrize("zero", [0, 128])
def test_no_integer_product_saturates(zero: int) -> None:
    """Of two neighbours the sum is beyond 16 bits, in which CPUs without VNNI add by default."""
    graph, x = start(1, 64)
    values = np.full((64, 4), 127)
    inputs = [pair(graph, x, 1.0, zero), integers(graph, "w", values, np.ones(4), 1)]
    graph.outputs = [node(graph, "MatMul", inputs, (1, 4))]
    data = gs.export_onnx(graph, do_type_check=False, ir_version=8).SerializeToString()
    session = runtime.session_of_proto(data, threads=1)
    image = np.full((1, 64), 255 - zero, np.float32)
    assert session.run(None, {"x": image})[0].tolist() == [[64 * 127 * (255 - zero)] * 4]


@pytest.mark.parametrize(
    ("allowed", "siblings", "threads"),
    [
        ({0, 1}, ["0,2", "1,3", "0,2", "1,3"], 2),
        ({0, 1, 2, 3}, ["0,2", "1,3", "0,2", "1,3"], 2),
        ({1, 3}, ["0,2", "1,3", "0,2", "1,3"], 1),
        ({0, 1, 2}, [], 3),
    ],
)
def test_threads_are_physical_cores_that_are_allowed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, allowed: set[int], siblings: list[str], threads: int
) -> None:
    for cpu, text in enumerate(siblings):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(text + "\n")
    monkeypatch.setattr(runtime, "TOPOLOGY", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: allowed, raising=False)
    assert runtime.default_threads() == threads


def test_threads_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert runtime.default_threads() == 6


@pytest.mark.parametrize(
    ("mine", "launcher", "threads"),
    [(8, 8, 2), (2, 8, 2), (3, 8, 2), (1, 8, 1), (2, 2, 1), (8, 4, 1)],
    ids=[
        "shared",
        "bound",
        "bound to more",
        "bound to one",
        "more ranks than cores",
        "wider than its parent",
    ],
)
def test_ranks_of_one_machine_share_its_cores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mine: int, launcher: int, threads: int
) -> None:
    for name, value in {"PMI_RANK": "5", "PMI_SIZE": "8", "MPI_LOCALNRANKS": "4"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(runtime, "TOPOLOGY", tmp_path)
    cores = {0: mine, os.getppid(): launcher}
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores[pid])), raising=False)
    assert runtime.default_threads() == threads
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert runtime.default_threads() == 1
