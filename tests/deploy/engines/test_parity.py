from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcomp import model as models
from onnxcomp import runtime
from onnxcomp.data import ImageSet, evaluation_batches
from onnxcomp.deploy.engines.parity import DeviceParity, compare
from onnxcomp.deploy.engines.wish import Wish
from onnxcomp.errors import OnnxcompError
from onnxcomp.model import Model, Preprocessing
from onnxcomp.parity.interval import paired_drop
from onnxcomp.parity.limits import Limits
from tests.deploy.engines.networks import Bench

IMAGES, BATCH = 7, 3
DIGITS = 1e-5  # trtexec writes six significant digits


def loaded(path: Path) -> Model:
    model = models.load(path)
    model.preprocessing = Preprocessing((128.0,) * 3, (64.0,) * 3)
    return model


def image_set() -> ImageSet:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (IMAGES, 8, 8, 3), dtype=np.uint8)
    return ImageSet.from_arrays(pixels, np.arange(IMAGES) % 10, [str(n) for n in range(10)])


def answers(
    model: Model, change: Any = lambda logits: logits
) -> tuple[dict[str, dict[str, list[float]]], np.ndarray]:
    """What ONNX Runtime gives for the batches, by the SHA-256 of what trtexec is sent; and all logits."""
    session = runtime.session(model, threads=1, integer=False)
    found, logits = {}, []
    assert model.preprocessing is not None
    for images, _ in evaluation_batches(image_set(), (8, 8), model.preprocessing, 3, BATCH):
        full = np.pad(images, [(0, BATCH - len(images)), (0, 0), (0, 0), (0, 0)])
        (output,) = session.run(None, {model.image.name: full})
        digest = hashlib.sha256(full.astype("<f4").tobytes()).hexdigest()
        found[digest] = {model.logits.name: change(output.astype(np.float64)).ravel().tolist()}
        logits.append(output[: len(images)])
    return found, np.concatenate(logits)


def measured(bench: Bench, network: Path) -> DeviceParity:
    request = bench.request(network, Wish(batch=BATCH))
    return compare(request, loaded(network), image_set(), samples=IMAGES, threads=1)


def failures(found: DeviceParity, limits: Limits) -> list[str]:
    return [check.failure for check in found.checks(limits)[0] if check.failure]


def test_an_engine_that_computes_the_same(bench: Bench, network: Path) -> None:
    known, logits = answers(loaded(network))
    bench.settings(answers=known)
    found = measured(bench, network)
    assert (found.images, found.agreement) == (IMAGES, 100.0)
    assert found.mean_absolute <= DIGITS * np.abs(logits).max()
    assert found.mean_logit == pytest.approx(np.abs(logits).mean())
    assert found.top1_device == found.top1_here
    assert failures(found, Limits(0.0, min_agreement=100.0)) == []
    assert dict(found.rows())["images on the device"] == str(IMAGES)


def test_an_engine_that_is_off_by_a_little(bench: Bench, network: Path) -> None:
    known, _ = answers(loaded(network), lambda logits: logits + np.linspace(0, 0.01, logits.shape[1]))
    bench.settings(answers=known)
    found = measured(bench, network)
    errors = np.tile(np.linspace(0, 0.01, 10), IMAGES)
    assert found.mean_absolute == pytest.approx(errors.mean(), abs=1e-4)
    assert found.quantile_absolute == pytest.approx(np.quantile(errors, 0.99), abs=1e-4)


def test_an_engine_that_is_wrong(bench: Bench, network: Path) -> None:
    known, logits = answers(loaded(network), lambda logits: -logits)
    bench.settings(answers=known)
    found = measured(bench, network)
    assert found.agreement == 100 * np.mean(logits.argmax(1) == logits.argmin(1))
    lines = failures(found, Limits(None, min_agreement=99.0))
    assert len(lines) == 1
    assert f"the same as here on {found.agreement:.2f} % of {IMAGES} images; at least 99 %" in lines[0]


def test_a_drop_of_accuracy_is_said() -> None:
    right = np.arange(100) < 71
    drop = paired_drop(right, right & (np.arange(100) > 0))
    common = ("Xavier", "8.5.2", 100, 97.0, 0.1, 0.2, 1.0, 70.0, 71.0, 0)
    found = DeviceParity(*common, finite=True, drop=drop)
    assert failures(found, Limits(1.0, drop_by="estimate", min_agreement=97.0)) == []
    assert len(failures(found, Limits(0.9, drop_by="estimate"))) == 1
    assert failures(found, Limits(0.9)) == []
    assert "no more than chance explains" in found.checks(Limits(0.9))[1][0]
    bad = DeviceParity(*common, finite=False, drop=drop)
    assert failures(bad, Limits(None)) == ["NaN or infinity among the outputs on Xavier"]


def test_a_run_that_fails_is_one_line(bench: Bench, network: Path) -> None:
    bench.request(network, Wish(batch=BATCH)).made()
    bench.settings(fault="gpu_memory")
    with pytest.raises(OnnxcompError, match=r"^this machine: the GPU's memory does not suffice"):
        measured(bench, network)
