"""The folder in which the blocks of a page are run: what pages take as given, as small as it can be."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from onnxcomp import data, pipeline, recipe
from onnxcomp import model as models
from onnxcomp.deploy.finalize import finalize
from onnxcomp.deploy.targets import get_target
from onnxcomp.preprocess import ensure_preprocessing
from tests import zoo
from tests.run import Observed

CLASSES, SIZE = 10, 8
PIP = """\
#!/bin/sh
# `pip install FOLDER` of a page: without the network, and beside the environment of the tests.
[ "$1" = install ] || exit 2
shift
export PIP_DISABLE_PIP_VERSION_CHECK=1
exec {python} -m pip install -q --no-deps --no-build-isolation --target {site} "$@"
"""

ONNXCOMP = """\
#!{python}
# The command of a page, but that it measures latencies for a moment instead of two seconds.
import sys

if sys.argv[1:2] in (["compress"], ["evaluate"]):
    from onnxcomp.parity import latency

    latency.LEAST_SECONDS = latency.WARM_UP_SECONDS = 0.05
from onnxcomp import cli

cli.main()
"""


def fill(folder: Path) -> None:
    """Write ``DATA`` (an image folder), the float networks ``m``, ``small``, ``large`` and ``other``,
    ``c.onnx``, which is ``m.onnx`` ready to be trained, and ``d.onnx``, which is it in INT8."""
    _images(folder / "DATA")
    images = data.open_data(str(folder / "DATA"))
    for seed, name in enumerate(("m", "small", "large", "other")):
        model = models.from_proto(zoo.densenet(size=SIZE, layers=(1, 1), growth=16, seed=seed))
        ensure_preprocessing(model, images)
        models.save(model, folder / f"{name}.onnx")
    network = models.load(folder / "m.onnx")
    everything, quantised = (
        pipeline.apply(network, recipe.parse(text), calibration=Observed())
        for text in ("prune,qat,distill", "qat")
    )
    models.save(everything, folder / "c.onnx")
    models.save(finalize(quantised, get_target("xavier")), folder / "d.onnx")


def programs(folder: Path) -> None:
    """Write the commands that a page calls and that are not quite the user's, into ``.bin``."""
    place = folder / ".bin"
    place.mkdir()
    for name, text in (("pip", PIP), ("onnxcomp", ONNXCOMP)):
        program = place / name
        program.write_text(text.format(python=sys.executable, site=folder / ".site"), encoding="utf-8")
        program.chmod(0o755)


def environment(folder: Path) -> dict[str, str]:
    """The variables of a shell in ``folder``: one thread, plain output, its own cache and packages."""
    paths = (folder / ".bin", Path(sys.executable).parent, os.environ["PATH"])
    return {
        **os.environ,
        "PATH": os.pathsep.join(map(str, paths)),
        "PYTHONPATH": str(folder / ".site"),
        "XDG_CACHE_HOME": str(folder / ".cache"),
        "COLUMNS": "120",
        "NO_COLOR": "1",
    }


def _images(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 16), ("test", 4)):
        for label in range(CLASSES):
            place = folder / part / str(label)
            place.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{index}.png")
