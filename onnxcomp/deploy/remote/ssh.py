"""One connection to a device through the user's own ``ssh``.

The first command opens it and the others share it (``ControlMaster`` of ssh_config(5)), so that each takes
a round trip only. The user's configuration, keys and known hosts count; nothing is asked (``BatchMode``) and
no check is weakened. ``ONNXCOMP_SSH`` may name another program, with options, as ``GIT_SSH_COMMAND`` does.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeVar

from onnxcomp.deploy.machine import DeviceError, Done
from onnxcomp.deploy.remote.failures import DroppedError, find_reason
from onnxcomp.interrupts import Interrupted, Signals

T = TypeVar("T")
HOST = re.compile(r"(?:ssh://)?(?:[A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9_][A-Za-z0-9_.:%-]*")
UNREACHED = 255
"""Exit code of ssh where it did not reach the host; scripts of ours never end with it."""
ENDED = (124, 128 + signal.SIGKILL, -signal.SIGKILL)
"""Exit codes of what took too long: of ``timeout`` of coreutils, and of an ssh that we gave up."""
PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds before each further try where the connection dropped."""
STEADY = 30.0
"""A connection that held for so many seconds before it dropped is given all tries again."""
TICK = 1.0
SOCKET_PATH = 103
"""Bytes that the path of a socket may have: sun_path of unix(7) on macOS, the shorter one."""
APPENDED = 17
"""Characters that ssh adds to the path while it opens the socket (muxserver_listen of its mux.c)."""
LATE = 30.0
"""Seconds after a time limit in which a command must be ended there."""
OPTIONS = (
    *("-o", "BatchMode=yes"),
    *("-o", "ConnectTimeout=10"),
    *("-o", "ServerAliveInterval=5"),
    *("-o", "ServerAliveCountMax=3"),
    *("-o", "ControlMaster=auto"),
    *("-o", "ControlPersist=600"),
    # What a user's configuration may ask for a login of theirs, and what is in the way here.
    *("-o", "ClearAllForwardings=yes"),
    *("-o", "ForwardX11=no"),
    *("-o", "LogLevel=INFO"),
    *("-o", "RemoteCommand=none"),
    *("-o", "RequestTTY=no"),
)


@dataclass
class Connection:
    """Commands on one host.

    Attributes:
        host: ``user@host``, a name of ssh_config, or ``ssh://user@host:port``.
        folder: private, on this machine, for the shared connection's socket.
        note: told that the connection dropped.
        reached: whether a command ran there; before that nothing is tried again.
        lost: it did not come back; from then on everything is tried once.
        preludes: what each command there does first, in the shell whose parent is the server's process of
            this connection.
    """

    host: str
    folder: Path
    note: Callable[[str], None] = lambda line: None
    reached: bool = field(default=False, init=False)
    lost: bool = field(default=False, init=False)
    preludes: list[str] = field(default_factory=list, init=False)

    def words(self, script: str) -> list[str]:
        """The command line on this machine that runs ``script`` in sh there, whatever the login shell is.

        Messages are in English.
        """
        script = "\n".join(["LC_ALL=C; export LC_ALL", *self.preludes, script])
        return [*self._ssh(), "--", self.host, f"exec sh -c {shlex.quote(script)}"]

    def run(
        self,
        script: str,
        *,
        timeout: float | None = None,
        stdin: IO[bytes] | None = None,
        stdout: IO[bytes] | None = None,
        tick: Callable[[], None] = lambda: None,
    ) -> Done:
        """Run a script there, once.

        Args:
            timeout: seconds, after which it is ended there.
            stdin: open file that it reads; None for nothing.
            stdout: open file that its output goes to; None for the result.
            tick: called every second meanwhile.

        Raises:
            DroppedError: the connection ended; it may have run or not.
            DeviceError: the host cannot be reached, or ``timeout`` seconds went by.
        """
        if timeout is not None:
            script = f"timeout -k 5 {timeout:g} sh -c {shlex.quote(script)}"
        start = time.monotonic()
        until = math.inf if timeout is None else start + timeout + LATE
        script = f"{{ {script}\n}}; c=$?; [ $c -ne {UNREACHED} ] || c=254; exit $c"
        with self.started(script, stdin, stdout) as (process, errors):
            code, out = _wait(process, tick, until)
            err = read_errors(errors)
        if code in ENDED and timeout is not None and time.monotonic() - start >= timeout:
            fix = "see whether something else keeps it busy"
            raise DeviceError(f"no answer within {timeout:g} s", where=self.host, fix=fix)
        if code == UNREACHED or code < 0:
            raise find_reason(err, self.host)
        self.reached = True
        return Done(code, out, err)

    def reach(self) -> None:
        """Open the connection.

        Raises:
            DeviceError: the host cannot be reached, or its login shell writes what is not asked of it.
        """
        done = self.run("echo :")
        if done.out != ":\n":
            said = done.out.strip().splitlines()[:1] or [f"nothing, exit code {done.code}"]
            raise DeviceError(
                f"its shell answers a command with text of its own ({said[0][:60]})",
                where=self.host,
                fix="let ~/.bashrc or ~/.profile there print only where the shell is interactive",
            )

    def persistently(self, work: Callable[[], T]) -> T:
        """``work()``, again after a pause where the connection dropped once it had worked.

        Raises:
            DeviceError: it did not come back.
        """
        tries = 0
        while True:
            start = time.monotonic()
            try:
                result = work()
            except DroppedError as error:
                tries = 0 if time.monotonic() - start >= STEADY and not self.lost else tries
                if self.lost or not self.reached or tries >= len(PAUSES):
                    self.lost = self.reached
                    raise
                self.note(f"{error.where}: {error.what}; trying again")
                time.sleep(PAUSES[tries])
                tries += 1
            else:
                self.lost = False
                return result

    def close(self) -> None:
        """End the shared connection."""
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                [*self._ssh(), "-O", "exit", "--", self.host],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=10,
                check=False,
            )

    def _ssh(self) -> list[str]:
        try:
            words = shlex.split(os.environ.get("ONNXCOMP_SSH") or "ssh")
        except ValueError as error:
            raise DeviceError(
                f"is no command line ({error})", where="ONNXCOMP_SSH", fix='for example "ssh -F config"'
            ) from error
        program = [os.path.expanduser(word) for word in words]
        return [*program, *OPTIONS, "-o", f"ControlPath={self.folder}/%C"]

    @contextmanager
    def started(
        self, script: str, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None
    ) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
        """The ssh that runs a script there, killed at the end of the block if it runs yet, and its errors.

        They go to a file: a master that is to log, by ``-v``, would hold a pipe open as long as it lives.

        A signal that comes while it starts strikes when there is something to kill.

        Raises:
            DeviceError: there is no ssh on this machine.
        """
        with Signals() as signals, tempfile.TemporaryFile() as errors:
            process = self._start(script, stdin, stdout, errors)
            try:
                with signals.at_once():
                    yield process, errors
            finally:
                process.kill()  # nothing where it has been waited for
                if process.stdout is not None:
                    process.stdout.close()
                process.wait()
        if signals.pending:
            raise Interrupted(signals.pending)

    def _start(
        self, script: str, stdin: IO[bytes] | None, stdout: IO[bytes] | None, errors: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self.words(script),
                stdin=stdin or subprocess.DEVNULL,
                stdout=stdout or subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for us to hear
            )
        except FileNotFoundError as error:
            raise DeviceError(
                "there is no ssh here", where=self.host, fix="install openssh-client"
            ) from error
        except OSError as error:
            raise DeviceError(
                f"cannot be run ({error.strerror})", where="ONNXCOMP_SSH", fix="let it name an ssh program"
            ) from error


def with_words(script: str, *words: str) -> str:
    """The script, with ``words`` as its arguments ``$1``, ``$2``, ..."""
    return f"set -- {shlex.join(words)}\n{script}"


@contextmanager
def connection(host: str, note: Callable[[str], None] = lambda line: None) -> Iterator[Connection]:
    """A connection to ``host``, closed at the end.

    Args:
        note: told that the connection dropped.

    Raises:
        DeviceError: ``host`` is no name of a host.
    """
    if not HOST.fullmatch(host):
        raise DeviceError("is no host", where=repr(host), fix="for example --host user@jetson")
    with tempfile.TemporaryDirectory(prefix="oc-", dir=_folder()) as folder:
        found = Connection(host, Path(folder), note)
        try:
            yield found
        finally:
            found.close()


def _folder() -> str | None:
    """Where the socket may be: the temporary folder, if its path is short enough for one."""
    hashed = 40  # digits that %C stands for
    longest = len(os.fsencode(f"{tempfile.gettempdir()}/oc-XXXXXXXX/")) + hashed + APPENDED
    return None if longest <= SOCKET_PATH else "/tmp"


def read_errors(errors: IO[bytes]) -> str:
    """What an ssh has written to the file of :meth:`Connection.started`."""
    errors.seek(0)
    return errors.read().decode(errors="replace")


def _wait(process: subprocess.Popen[bytes], tick: Callable[[], None], until: float) -> tuple[int, str]:
    """Exit code and output of ``process``; it is given up at ``until`` (``time.monotonic``)."""
    while True:
        try:
            out, _ = process.communicate(timeout=TICK)
            return process.returncode, (out or b"").decode(errors="replace")
        except subprocess.TimeoutExpired:
            tick()
        if time.monotonic() >= until:  # its output is not waited for: the master holds it open
            return -signal.SIGKILL, ""
