"""``mpirun -n R onnxcomp train``: the same training as one process, and an end for all ranks together."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcomp import cli
from onnxcomp import model as models
from tests import zoo
from tests.mpi import command, mpirun, needs_mpi, open_mpi
from tests.training import networks

pytestmark = needs_mpi

GLOBAL_BATCH, STEPS_PER_EPOCH, EPOCHS = 16, 3, 3
SALIENT = "prune{criterion=obd end=1 frequency=1}"
RUN = "import sys\nfrom onnxcomp import cli\n"
MAIN = "cli.main(sys.argv[1:])\n"
# Float32 sums in another order. Measured: losses agree to 1e-7, weights to 6e-8; they move by 0.05.
LOSS_RTOL, WEIGHT_ATOL = 2e-6, 2e-6


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 48 images in ten classes; networks: folded, with BatchNormalization, compressed."""
    folder = tmp_path_factory.mktemp("parallel")
    rng = np.random.default_rng(0)
    count = GLOBAL_BATCH * STEPS_PER_EPOCH
    images = rng.integers(0, 256, (count + 20, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(count + 20) % 10
    np.savez(
        folder / "data.npz",
        x_train=images[:count], y_train=labels[:count], x_test=images[count:], y_test=labels[count:],
    )  # fmt: skip
    onnx.save(zoo.resnet(size=8), folder / "folded.onnx")
    onnx.save(zoo.densenet(size=8), folder / "norm.onnx")
    models.save(networks.zoo_compression("densenet", "prune,qat,distill"), folder / "compressed.onnx")
    models.save(networks.zoo_compression("resnet", SALIENT), folder / "salient.onnx")
    models.save(networks.zoo_compression("densenet", "distill"), folder / "taught.onnx")
    return folder


def arguments(case: Path, network: str, name: str, *options: object) -> list[str]:
    fixed = ("--epochs", EPOCHS, "--lr", 0.02, "--threads", 1, "--log-every", 1, "--checkpoint-every", 2)
    files = (case / f"{network}.onnx", "-o", case / f"{name}.onnx", "--data", case / "data.npz")
    return ["train", *map(str, (*files, "--run-dir", case / name, *fixed, *options))]


def alone(case: Path, network: str, batch: int, accumulate: int = 1, *more: object) -> str:
    """Train in this process, unless that was done; the run's name."""
    name = f"{network}-{batch}-{accumulate}"
    if not (case / name).exists():
        options = ("--batch-size", batch, "--accumulate", accumulate, *more)
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments(case, network, name, *options))
        assert stop.value.code == 0
    return name


def records(case: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (case / name / "metrics.jsonl").read_text().splitlines()]


def weights(case: Path, name: str) -> Mapping[str, np.ndarray]:
    graph = onnx.load(case / f"{name}.onnx").graph
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}


def assert_same_curve(case: Path, name: str, expected: str) -> None:
    found, wanted = ([r for r in records(case, n) if "event" not in r] for n in (name, expected))
    assert [r["step"] for r in found] == [r["step"] for r in wanted] == list(range(1, 10))
    assert [r["lr"] for r in found] == [r["lr"] for r in wanted]
    assert [r["accuracy"] for r in found] == [r["accuracy"] for r in wanted]
    losses, expected_losses = ([r["loss"] for r in run] for run in (found, wanted))
    np.testing.assert_allclose(losses, expected_losses, rtol=LOSS_RTOL)
    assert max(losses) > min(losses) + 0.1  # it moved, so equality says something


def assert_same_weights(case: Path, name: str, expected: str, *, but: str = "none") -> None:
    found, wanted = weights(case, name), weights(case, expected)
    assert found.keys() == wanted.keys()
    for tensor in found:
        if but not in tensor:
            np.testing.assert_allclose(
                found[tensor], wanted[tensor], atol=WEIGHT_ATOL, rtol=0, err_msg=tensor
            )


@pytest.mark.parametrize("count", [2, 4])
def test_ranks_without_batch_normalization_are_one_large_batch(case: Path, count: int) -> None:
    batch, name = GLOBAL_BATCH // count, f"folded-{count}-ranks"
    done = mpirun(count, "-c", RUN + MAIN, *arguments(case, "folded", name, "--batch-size", batch))
    assert done.returncode == 0, done.stderr
    for same in (alone(case, "folded", GLOBAL_BATCH), alone(case, "folded", batch, count)):
        assert_same_curve(case, name, same)
        assert_same_weights(case, name, same)
        tests = [[r["test_accuracy"] for r in records(case, n) if "event" in r] for n in (name, same)]
        assert tests[0] == pytest.approx(tests[1], abs=1e-9)
        assert len(tests[0]) == EPOCHS
    assert len(done.stdout.splitlines()) == 1  # rank 0 speaks for all
    assert done.stderr.count(f"/{EPOCHS * STEPS_PER_EPOCH} ") <= 10


@pytest.mark.parametrize(("count", "accumulate"), [(4, 1), (2, 2)])
def test_ranks_with_batch_normalization_are_accumulated_batches(
    case: Path, count: int, accumulate: int
) -> None:
    parts = count * accumulate
    batch, name = GLOBAL_BATCH // parts, f"norm-{count}-ranks"
    options = ("--batch-size", batch, "--accumulate", accumulate)
    done = mpirun(count, "-c", RUN + MAIN, *arguments(case, "norm", name, *options))
    assert done.returncode == 0, done.stderr
    same = alone(case, "norm", batch, parts)
    assert_same_curve(case, name, same)
    # The running statistics take every micro-batch in turn in one process; ranks average theirs.
    assert_same_weights(case, name, same, but="running")


def test_ranks_know_the_same_of_the_gradients_as_one_process(case: Path) -> None:
    """Of two micro-batches mean and sum are the same numbers, and so are the masks."""
    done = mpirun(2, "-c", RUN + MAIN, *arguments(case, "salient", "salient-ranks", "--batch-size", 8))
    assert done.returncode == 0, done.stderr
    same = alone(case, "salient", 8, 2)
    assert_same_curve(case, "salient-ranks", same)
    assert_same_weights(case, "salient-ranks", same)
    found, wanted = weights(case, "salient-ranks"), weights(case, same)
    masks = [name for name in found if name.endswith(".mask")]
    assert masks
    assert all(np.array_equal(found[name], wanted[name]) for name in masks)
    assert sum(int((found[name] == 0).sum()) for name in masks) > 0


def test_ranks_read_what_the_teacher_says_of_their_own_images(case: Path) -> None:
    """Cached or run at each step, on two ranks or on one: the same training."""
    micro = ("--batch-size", 4, "--accumulate", 2, "--no-augment")
    for name, cache in (("taught-step", "off"), ("taught-cached", case / "rows")):
        words = arguments(case, "taught", name, *micro, "--teacher-cache", cache)
        done = mpirun(2, "-c", RUN + MAIN, *words)
        assert done.returncode == 0, done.stderr
    assert len(list((case / "rows").glob("*.rows"))) == 1
    found, expected = weights(case, "taught-cached"), weights(case, "taught-step")
    assert all(found[name].tobytes() == expected[name].tobytes() for name in expected)
    same = alone(case, "taught", 4, 4, "--no-augment", "--teacher-cache", case / "rows")
    assert_same_curve(case, "taught-cached", same)
    assert_same_weights(case, "taught-cached", same, but="running")


KILL = """
import os, signal
from onnxcomp.launcher import launch
from onnxcomp.training.trainer import Trainer
step = Trainer.step
def killed(self, number, batches):
    if number == 4 and launch().rank == 1:
        {}
    return step(self, number, batches)
Trainer.step = killed
"""


@pytest.mark.parametrize("network", ["compressed", "salient"])
def test_a_killed_rank_ends_all_and_the_run_resumes_exactly(case: Path, network: str) -> None:
    options = ("--batch-size", 8, "--ema", 0.9, "--optimizer", "adamw")
    names = f"{network}-whole", f"{network}-killed"
    whole = mpirun(2, "-c", RUN + MAIN, *arguments(case, network, names[0], *options))
    assert whole.returncode == 0, whole.stderr
    words = arguments(case, network, names[1], *options)
    start = time.monotonic()
    killed = mpirun(2, "-c", RUN + KILL.format("os.kill(os.getpid(), signal.SIGKILL)") + MAIN, *words)
    assert killed.returncode != 0
    assert time.monotonic() - start < 120
    resumed = mpirun(2, "-c", RUN + MAIN, *words, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    expected, found = (weights(case, name) for name in names)
    assert all(found[name].tobytes() == expected[name].tobytes() for name in expected)
    keys = ("step", "loss", "accuracy", "test_accuracy")
    lines = [[[r.get(key) for key in keys] for r in records(case, run)] for run in names]
    assert lines[0] == lines[1]


def test_an_error_on_one_rank_ends_all_with_one_line(case: Path) -> None:
    raises = "from onnxcomp.errors import DataError; raise DataError('is broken', where='a.png')"
    words = arguments(case, "folded", "broken", "--batch-size", 8)
    done = mpirun(4, "-c", RUN + KILL.format(raises) + MAIN, *words, "--batch-size", "4")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("Error: a.png: is broken\n") == 1
    assert "Traceback" not in done.stderr


def test_a_fault_on_one_rank_ends_all_with_one_traceback(case: Path) -> None:
    words = arguments(case, "folded", "fault", "--batch-size", 8)
    done = mpirun(2, "-c", RUN + KILL.format("raise AssertionError('a fault')") + MAIN, *words)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("AssertionError: a fault\n") == 1


def test_an_error_of_all_ranks_is_said_once(case: Path) -> None:
    words = arguments(case, "folded", "huge", "--batch-size", 100)
    done = mpirun(4, "-c", RUN + MAIN, *words)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("Error: ") == 1
    assert "a batch of 100 times 4 cannot be made of 48 training images" in done.stderr


def test_a_run_of_other_ranks_is_not_resumed(case: Path) -> None:
    name = alone(case, "folded", GLOBAL_BATCH)
    words = arguments(case, "folded", name, "--batch-size", 8, "--resume")
    done = mpirun(2, "-c", RUN + MAIN, *words)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("Error: ") == 1
    assert "belongs to a run with" in done.stderr


@pytest.mark.skipif(
    open_mpi(), reason="after Ctrl-C, Open MPI's mpirun shows nothing more of its ranks and ends with 1"
)
def test_ctrl_c_saves_a_step_of_all_ranks(case: Path) -> None:
    """The launcher hands the signal on; the ranks stop after the same step."""
    words = arguments(case, "folded", "stopped", "--batch-size", 8, "--epochs", 300)
    process = subprocess.Popen(
        command(2, "-c", RUN + MAIN, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    metrics = case / "stopped" / "metrics.jsonl"
    until = time.monotonic() + 60
    while time.monotonic() < until and not (metrics.exists() and metrics.read_text().count("\n") > 3):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    (said,) = [line for line in errors.splitlines() if line.startswith("Interrupted")]
    found = re.search(
        r"is kept at step (\d+) of 900; continue with: mpirun -n 2 onnxcomp train .* --resume$", said
    )
    assert found
    assert list((case / "stopped").rglob("*.safetensors"))
    assert records(case, "stopped")[-1]["step"] >= int(found[1]) >= 3
