from __future__ import annotations

import pytest

from onnxcomp.deploy.machine import Done
from onnxcomp.deploy.remote.failures import DroppedError, find_reason, refused

# What OpenSSH 8 and 9 write, and whether another try may go through once the device was reached.
SAID = [
    (
        "ssh: Could not resolve hostname xavier: Name or service not known",
        "there is no host of that name",
        True,
    ),
    ("ssh: connect to host 10.0.0.9 port 22: Connection refused", "nothing listens to ssh there", True),
    ("ssh: connect to host 10.0.0.9 port 22: No route to host", "it does not answer", True),
    ("ssh: connect to host 10.0.0.9 port 22: Connection timed out", "it does not answer", True),
    ("Connection timed out during banner exchange", "it does not answer", True),
    ("nvidia@xavier: Permission denied (publickey,password).", "it refuses your key", False),
    (
        "Received disconnect from 10.0.0.9 port 22:2: Too many authentication failures",
        "it refuses your key",
        False,
    ),
    ("Host key verification failed.", "its host key is not known", False),
    (
        "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
        "its host key is another than before",
        False,
    ),
    ("Connection to 10.0.0.9 closed by remote host.", "the connection dropped", True),
    ("client_loop: send disconnect: Broken pipe", "the connection dropped", True),
    ("Timeout, server 10.0.0.9 not responding.", "the connection dropped", True),
    ("kex_exchange_identification: Connection closed by remote host", "the connection dropped", True),
    ("mux_client_request_session: read from master failed: Broken pipe", "the connection dropped", True),
    ("", "the connection dropped", True),
    ("/home/me/.ssh/config: line 3: Bad configuration option: foo", "ssh refuses its settings", False),
    (
        "Unable to negotiate with 10.0.0.9 port 22: no matching host key type found",
        "ssh says: Unable to negotiate with 10.0.0.9 port 22: no matching host key type found",
        False,
    ),
]


@pytest.mark.parametrize(("said", "what", "again"), SAID)
def test_what_ssh_says(said: str, what: str, again: bool) -> None:
    found = find_reason(said, "xavier")
    assert (found.what, found.where, isinstance(found, DroppedError)) == (what, "xavier", again)
    assert found.fix
    assert "HOST" not in found.fix


def test_the_host_is_in_the_remedy() -> None:
    assert "ssh-keygen -R xavier, " in find_reason("REMOTE HOST IDENTIFICATION HAS CHANGED", "xavier").fix


@pytest.mark.parametrize(
    ("err", "line"),
    [
        ("cat: write error: No space left on device\n", "xavier: the disk there is full; make room there"),
        ("sh: cannot create x: Disk quota exceeded", "xavier: the disk there is full; make room there"),
        ("a\nb: Read-only file system\n", "xavier: it failed (b: Read-only file system); mend it"),
        ("", "xavier: it failed; mend it"),
    ],
)
def test_a_script_that_did_not_work(err: str, line: str) -> None:
    assert str(refused(Done(1, "", err), "xavier", "it failed", "mend it")) == line
