"""Why ssh did not reach the device, from what it printed, and what can be done."""

from __future__ import annotations

import re
from typing import NamedTuple

from onnxcomp.deploy.machine import DeviceError, Done


class DroppedError(DeviceError):
    """The connection ended before its time; another try may go through."""


class Reason(NamedTuple):
    """A line of ssh's that matches means ``what``."""

    pattern: re.Pattern[str]
    what: str
    fix: str
    again: bool = False


def _reason(pattern: str, what: str, fix: str, *, again: bool = False) -> Reason:
    return Reason(re.compile(pattern), what, fix, again)


# The texts of OpenSSH's ssh.c, sshconnect.c, sshconnect2.c and clientloop.c.
REASONS = (
    _reason(
        r"Could not resolve hostname",
        "there is no host of that name",
        "check the name, or add it to ~/.ssh/config",
        again=True,  # once it had one, the network is away
    ),
    _reason(
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is another than before",
        "if the board was flashed anew: ssh-keygen -R HOST, then log in once with ssh",
    ),
    _reason(
        r"Host key verification failed",
        "its host key is not known",
        "log in once with ssh HOST, and accept it",
    ),
    _reason(
        r"Permission denied|Too many authentication failures",
        "it refuses your key",
        "copy it there with ssh-copy-id, or name it in ~/.ssh/config; one with a passphrase: ssh-add",
    ),
    _reason(
        r"Connection refused",
        "nothing listens to ssh there",
        "start its SSH server, or give the port in ~/.ssh/config",
        again=True,
    ),
    _reason(
        r"Connection timed out|No route to host|Network is unreachable|Operation timed out|Host is down",
        "it does not answer",
        "see that it runs and is on the network",
        again=True,
    ),
    _reason(
        r"Bad configuration option|Can't open user config file|[Bb]ad owner or permissions",
        "ssh refuses its settings",
        "see what ssh HOST says",
    ),
    _reason(
        r"closed by|Connection reset|Broken pipe|not responding|Connection closed|client_loop|mux_client",
        "the connection dropped",
        "see whether it still runs, and try again",
        again=True,
    ),
)


FULL = ("No space left on device", "Disk quota exceeded")
"""ENOSPC and EDQUOT as the C library words them."""


def find_reason(err: str, host: str) -> DeviceError:
    """Why ssh ended with 255.

    Args:
        err: what it wrote to stderr.

    Returns:
        A :class:`DroppedError` where the next try may go through.
    """
    for reason in REASONS:
        if reason.pattern.search(err):
            kind = DroppedError if reason.again else DeviceError
            return kind(reason.what, where=host, fix=reason.fix.replace("HOST", host))
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    if not lines:  # ended by a signal, or by the server without a word
        return DroppedError(
            "the connection dropped", where=host, fix="see whether it still runs, and try again"
        )
    return DeviceError(f"ssh says: {lines[-1]}", where=host, fix=f"see what ssh {host} says")


def refused(done: Done, host: str, what: str, fix: str) -> DeviceError:
    """Why a script of ours did not work there.

    Args:
        what, fix: where the disk is not full; what it said is added.
    """
    if any(words in done.err for words in FULL):
        return DeviceError("the disk there is full", where=host, fix="make room there")
    lines = done.err.strip().splitlines()
    reason = f" ({lines[-1].strip()})" if lines else ""
    return DeviceError(f"{what}{reason}", where=host, fix=fix)
