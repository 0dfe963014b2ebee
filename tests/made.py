"""One run of ``compress``, made once; its network has a node whose name is out for trouble."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from onnxcomp import model as models
from onnxcomp import recipe as recipes
from onnxcomp.compress import Job
from onnxcomp.data import open_data
from onnxcomp.deploy.targets import get_target
from onnxcomp.provenance import Origin
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.progress import Silent
from tests import zoo

HOSTILE = (
    """<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>|`$x$`\x1b[31m"""
)
PASSES = "prune{sparsity=0.7 frequency=1},qat,distill"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder; nobody writes into it."""
    folder = tmp_path_factory.mktemp("page")
    network = folder / "m.onnx"
    proto = zoo.densenet(size=8, layers=(2, 1), growth=4)
    next(node for node in proto.graph.node if node.op_type == "Conv").name = HOSTILE
    onnx.save(proto, network)
    config = TrainConfig(0.3, threads=1, log_every=4, teacher_cache="off")
    origin = Origin(("onnxcomp", "compress", PASSES, "m.onnx"), (network,))
    job = Job(open_data("digits"), config, get_target("xavier"), folder / "run", Silent(), origin=origin)
    job.compress(models.load(network), recipes.parse(PASSES))
    return folder / "run"
