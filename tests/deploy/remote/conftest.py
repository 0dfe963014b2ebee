from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from onnxcomp.deploy.remote import RemoteMachine, connect, ssh
from tests.deploy.remote import sshd


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sshd.Sshd]:
    folder = tmp_path / "ssh"
    folder.mkdir()
    monkeypatch.setattr(ssh, "PAUSES", (0.1, 0.2, 0.4, 0.8))
    with sshd.running(folder) as found:
        monkeypatch.setenv("ONNXCOMP_SSH", found.command)
        yield found


@pytest.fixture
def machine(server: sshd.Sshd) -> Iterator[RemoteMachine]:
    with connect(sshd.HOST) as found:
        yield found
