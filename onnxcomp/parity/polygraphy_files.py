"""Polygraphy's own files: inputs and run results, as ``polygraphy run`` writes and reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxcomp import files
from onnxcomp.errors import DataError
from onnxcomp.model import Model
from onnxcomp.nearest import meant_path
from onnxcomp.parity.comparator import Verdict

INPUTS = "write it with polygraphy run --save-inputs FILE.json, or onnxcomp validate --save-inputs"
OUTPUTS = "write it with polygraphy run --load-inputs the same inputs --save-outputs FILE.json"


@dataclass(frozen=True)
class Run:
    """Answers that something else gave.

    Attributes:
        name: of Polygraphy's runner.
        logits: float32 [N, classes].
    """

    name: str
    logits: np.ndarray


def save_inputs(path: Path, images: Sequence[np.ndarray], name: str) -> None:
    """Write batches of the input called ``name``, for ``polygraphy run --load-inputs``.

    Raises:
        OnnxcompError: the file cannot be written.
    """
    from polygraphy.json import save_json

    with files.atomic_path(path) as temporary, _quiet():
        save_json([{name: batch} for batch in images], str(temporary))


def save_outputs(path: Path, verdict: Verdict, name: str) -> None:
    """Write the answers of candidate and reference, for ``polygraphy run --load-outputs``.

    Args:
        name: of the output.

    Raises:
        OnnxcompError: the file cannot be written.
    """
    from polygraphy.comparator import IterationResult, RunResults

    def iterations(runner: str, logits: np.ndarray) -> list[Any]:
        parts = np.split(logits, np.cumsum(verdict.batches)[:-1])
        return [IterationResult({name: part}, runner_name=runner) for part in parts]

    results = RunResults()
    # As they are compared: Polygraphy takes relative errors as a share of the second one's values.
    for runner, logits in (("candidate", verdict.candidate), ("reference", verdict.reference)):
        results.append((runner, iterations(runner, logits)))
    with files.atomic_path(path) as temporary, _quiet():
        results.save(str(temporary))


def load_inputs(path: Path, model: Model) -> list[np.ndarray]:
    """Batches for ``model`` from a file of ``polygraphy run --save-inputs``, float32 [B, C, H, W] each.

    Raises:
        DataError: it is no such file, or holds other inputs than the network takes.
    """
    from polygraphy.json import load_json

    feeds = _read(path, load_json, INPUTS)
    if not isinstance(feeds, list) or not feeds or not all(isinstance(feed, dict) for feed in feeds):
        raise DataError("holds no inputs", where=str(path), fix=INPUTS)
    return [_image(feed, model, path) for feed in feeds]


def _image(feed: dict[str, Any], model: Model, path: Path) -> np.ndarray:
    values = feed.get(model.image.name, next(iter(feed.values())) if len(feed) == 1 else None)
    shape = (model.batch, *model.image_shape)
    fits = (
        isinstance(values, np.ndarray)
        and values.ndim == len(shape)
        and all(size in (None, found) for size, found in zip(shape, values.shape, strict=True))
        and values.shape[0] > 0
    )
    if not fits:
        found = list(values.shape) if isinstance(values, np.ndarray) else f"the inputs {', '.join(feed)}"
        raise DataError(
            f"holds {found} where {model.image.name} of {[size or 'N' for size in shape]} is expected",
            where=str(path),
            fix=INPUTS,
        )
    return np.asarray(values, np.float32)


def load_outputs(path: Path, model: Model, count: int) -> list[Run]:
    """The runs in a file of ``polygraphy run --save-outputs``, or of :func:`save_outputs`.

    Args:
        model: whose logits they are.
        count: number of images that were fed.

    Raises:
        DataError: it is no such file, or the answers are not to that many images.
    """
    from polygraphy.comparator import RunResults

    results = _read(path, RunResults.load, OUTPUTS)
    runs = [Run(str(name), _logits(list(iterations), model, path)) for name, iterations in results.items()]
    if not runs:
        raise DataError("holds no run", where=str(path), fix=OUTPUTS)
    for run in runs:
        if len(run.logits) != count:
            raise DataError(
                f"{run.name} answered {len(run.logits)} images, and {count} are compared",
                where=str(path),
                fix="feed the same: validate --save-inputs FILE.json, polygraphy run --load-inputs FILE.json",
            )
    return runs


def _logits(iterations: list[Any], model: Model, path: Path) -> np.ndarray:
    found = []
    for outputs in iterations:
        names = list(outputs.keys())
        name = model.logits.name if model.logits.name in names else names[0] if len(names) == 1 else None
        values = None if name is None else np.asarray(outputs[name], np.float32)
        if values is None or values.size % model.num_classes or math.prod(values.shape[1:]) == 0:
            raise DataError(
                f"holds the outputs {', '.join(names)}, none of {model.num_classes} logits",
                where=str(path),
                fix=OUTPUTS,
            )
        found.append(values.reshape(-1, model.num_classes))
    return np.concatenate(found) if found else np.zeros((0, model.num_classes), np.float32)


def _read(path: Path, load: Any, fix: str) -> Any:
    from polygraphy.exception import PolygraphyException

    if not path.is_file():
        raise DataError("there is no such file", where=str(path), fix=meant_path(path, fix))
    try:
        with _quiet():  # it would log what is raised here
            return load(str(path))
    # What Polygraphy's decoders raise on a damaged file is whatever their base64 and NumPy raise.
    except (PolygraphyException, OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"is no file of Polygraphy's ({reason})", where=str(path), fix=fix) from error


def _quiet() -> AbstractContextManager[None]:
    """No log of Polygraphy's."""
    from polygraphy.logger import G_LOGGER

    context: AbstractContextManager[None] = G_LOGGER.verbosity(G_LOGGER.CRITICAL + 1)
    return context
