from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy.engines.networks import Bench, quantised


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """This machine with a stand-in for trtexec."""
    return Bench(tmp_path, monkeypatch)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A finalized network with Q/DQ."""
    return quantised(tmp_path / "d.onnx")
