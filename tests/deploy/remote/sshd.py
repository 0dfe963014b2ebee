"""A real sshd on the loopback interface with keys of its own; nothing of the user's ssh is touched."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin")
needs_sshd = pytest.mark.skipif(
    SSHD is None or not shutil.which("ssh") or not shutil.which("ssh-keygen"),
    reason="there is no sshd or ssh here (Debian: openssh-server, openssh-client)",
)
HOST = "device"


@dataclass
class Sshd:
    """A server, and the client's settings that reach it as :data:`HOST`.

    Attributes:
        folder: keys, settings and logs.
        home: what the "device" takes for its cache folder.
        port: on 127.0.0.1.
    """

    folder: Path
    home: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def bin(self) -> Path:
        """First folder of the PATH there."""
        return self.folder / "bin"

    @property
    def command(self) -> str:
        """Value of ``ONNXCOMP_SSH``."""
        return f"ssh -F {self.folder}/config"

    def start(self) -> None:
        """Listen, and wait until it does."""
        assert SSHD is not None
        words = [SSHD, "-D", "-E", str(self.folder / "sshd.log"), "-f", str(self.folder / "sshd_config")]
        self.process = subprocess.Popen(words)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise TimeoutError((self.folder / "sshd.log").read_text())

    def stop(self) -> None:
        """Listen no more; connections stay."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def drop(self) -> None:
        """Cut all connections, as a broken network does; what runs there in a session of its own goes on."""
        if self.process is not None:
            for pid in connections(self.process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def settings(self, **changes: str) -> None:
        """Write the client's settings, some of them changed."""
        known = {
            "HostName": "127.0.0.1",
            "Port": str(self.port),
            "IdentityFile": str(self.folder / "user"),
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": str(self.folder / "known_hosts"),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
        }
        lines = [f"  {name} {value}" for name, value in {**known, **changes}.items()]
        (self.folder / "config").write_text("\n".join([f"Host {HOST}", *lines, ""]))


def connections(server: int) -> list[int]:
    """The processes of ``server`` that hold a connection each."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, fields = stat.read_text().partition("(")[2].rpartition(")")
            if name.startswith("sshd"):
                parents[int(stat.parent.name)] = int(fields.split()[1])
    found = [pid for pid, parent in parents.items() if parent == server]
    return [*found, *(pid for pid, parent in parents.items() if parent in found)]


def key(path: Path) -> str:
    """A new pair of keys; the public one."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=30)
    return path.with_suffix(".pub").read_text()


@contextmanager
def running(folder: Path) -> Iterator[Sshd]:
    """A server of its own, that is gone at the end with all its connections."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = Sshd(folder, folder / "home", port)
    found.home.mkdir()
    found.bin.mkdir()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd shuts its children in
    (folder / "authorized_keys").write_text(key(folder / "user"))
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {key(folder / 'host')}")
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nMaxStartups 100\n"
        f"SetEnv HOME={found.home} PATH={found.bin}:/usr/bin:/bin\n"
    )
    found.settings()
    found.start()
    try:
        yield found
    finally:
        found.drop()
        found.stop()
