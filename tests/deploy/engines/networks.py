"""Files and a machine that the tests of engines share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onnxcomp import model as models
from onnxcomp.deploy.engines.build import Request
from onnxcomp.deploy.engines.by_trtexec import ByTrtexec
from onnxcomp.deploy.engines.source import read
from onnxcomp.deploy.engines.wish import Wish
from onnxcomp.deploy.finalize import finalize
from onnxcomp.deploy.machine import LocalMachine
from onnxcomp.deploy.targets import get_target
from tests import zoo
from tests.deploy import networks
from tests.deploy.trtexec import installed


def quantised(path: Path, name: str = "resnet", target: str = "xavier") -> Path:
    """A finalized network with Q/DQ."""
    model = networks.compressed(models.from_proto(zoo.ALL[name](size=8)), "qat")
    models.save(finalize(model, get_target(target)), path)
    return path


class Bench:
    """This machine with a stand-in for trtexec, its cache in ``folder``, and what was said."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        self.folder = folder
        self.told: list[str] = []
        self.log: list[str] = []
        self.settings(**settings)

    def settings(self, **settings: Any) -> None:
        """Another version or another fault from now on."""
        self.trtexec = installed.install(self.folder, **settings)

    def runtime(self) -> ByTrtexec:
        return ByTrtexec.find(LocalMachine(), str(self.trtexec))

    def request(self, path: Path, wish: Wish | None = None, *, dla: bool = False) -> Request:
        source = read(path, dla=dla)
        return Request(source, "xavier", wish or Wish(), self.runtime(), self.told.append, self.log.append)

    @property
    def cached(self) -> list[str]:
        """Names of the files in the machine's cache of engines."""
        return sorted(path.name for path in (self.folder / "cache/onnxcomp/engines").iterdir())
