"""A long command on a device that goes on when the connection drops.

It runs in a session of its own there, its output and exit code go to files, and the output is followed with
``tail``. After a drop it is followed from the byte where it stopped.
"""

from __future__ import annotations

import os
import secrets
import selectors
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from onnxcomp.deploy.machine import DeviceError, Done
from onnxcomp.deploy.remote.failures import find_reason, refused
from onnxcomp.deploy.remote.ssh import UNREACHED, Connection, read_errors, with_words

BLOCK = 2**16
GRACE = 5
"""Seconds there between SIGTERM and SIGKILL."""
STOP_SECONDS = 30.0
START = """cd "$1" || exit
if mkdir "$2"; then
  :> "$2/log"
  setsid sh -c 'd=$1; shift; echo $$ > "$d/pid" && {
    "$@" > "$d/log" 2>&1; echo $? > "$d/part"; mv "$d/part" "$d/code"; }' "$@" </dev/null >/dev/null 2>&1 &
else [ -d "$2" ] || exit; fi
n=0; while [ ! -s "$2/pid" ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n+1)); done; cat "$2/pid\""""
STOP = f"""cd "$1" && ! mkdir "$2" 2>/dev/null || exit 0  # it has not begun, and will not now
n=0; while [ ! -s "$2/pid" ] && [ $n -lt 50 ]; do sleep 0.1; n=$((n+1)); done; p=$(cat "$2/pid") || exit 0
kill -s TERM -- -$p 2>/dev/null; n=0
while kill -s 0 -- -$p 2>/dev/null && [ $n -lt {10 * GRACE} ]; do sleep 0.1; n=$((n+1)); done
kill -s KILL -- -$p 2>/dev/null; :"""
FOLLOW = """cd "$1" || exit
grep -qs "$2" "/proc/$3/cmdline" && exec tail -c "+$4" -s 0.2 --pid="$3" -f "$2/log"
exec tail -c "+$4" "$2/log\""""
CODE = """cd "$1" || exit; [ ! -s "$2/code" ] || exec cat "$2/code"
head -c 65536 /dev/zero > "$2/room\""""


@dataclass
class Job:
    """One command there.

    Attributes:
        folder: there, in which it runs.
        name: of the folder in it with its log, process number and exit code; known before it starts, so that
            a start whose answer was lost is not repeated, and one that was interrupted is taken back.
        pid: of its session there, once it is started.
        read: bytes of the log that were followed.
    """

    connection: Connection
    folder: str
    name: str = field(default_factory=lambda: f"job-{secrets.token_hex(4)}", init=False)
    pid: int = field(default=0, init=False)
    read: int = field(default=0, init=False)

    def start(self, words: Sequence[str]) -> None:
        """Start ``words``.

        Raises:
            DeviceError: it cannot be started.
        """
        done = self._run(START, *words)
        if done.code != 0 or not done.out.strip().isdigit():
            host = self.connection.host
            raise refused(done, host, "a command cannot be started there", f"see what ssh {host} says")
        self.pid = int(done.out)

    def follow(self, on_line: Callable[[str], None], until: float | None) -> int:
        """Give each line of the log to ``on_line``; the exit code when it ends.

        Raises:
            TimeoutError: it is not over at ``until``, a time of ``time.monotonic``.
            DeviceError: the device does not answer any more, or has forgotten the job.
        """
        rest = bytearray()

        def read() -> None:
            with closing(self._log(until)) as log:
                for data in log:
                    self.read += len(data)
                    rest.extend(data)
                    *whole, last = bytes(rest).split(b"\n")
                    rest[:] = last
                    for line in whole:
                        on_line(line.decode(errors="replace").rstrip("\r"))

        self.connection.persistently(read)
        if rest:
            on_line(rest.decode(errors="replace").rstrip("\r"))
        done = self._run(CODE)
        if done.code != 0 or not done.out.strip().isdigit():
            what = "the job there was ended from outside, or the device was restarted"
            raise refused(done, self.connection.host, what, "run it again")
        return int(done.out)

    def stop(self) -> None:
        """End it there, with all that it started."""
        self._run(STOP, timeout=STOP_SECONDS)

    def _run(self, script: str, *words: str, timeout: float | None = None) -> Done:
        text = with_words(script, self.folder, self.name, *words)
        return self.connection.persistently(lambda: self.connection.run(text, timeout=timeout))

    def _log(self, until: float | None) -> Generator[bytes, None, None]:
        """What the log gets from byte :attr:`read` on, to its end."""
        script = with_words(FOLLOW, self.folder, self.name, str(self.pid), str(self.read + 1))
        with self.connection.started(script) as (process, errors):
            assert process.stdout is not None
            yield from _blocks(process.stdout.fileno(), until)
            code = process.wait()
            err = read_errors(errors)
        if code == UNREACHED or code < 0:
            raise find_reason(err, self.connection.host)
        if code != 0:
            raise DeviceError(
                f"its log is gone ({err.strip()})", where=self.connection.host, fix="run it again"
            )


def _blocks(handle: int, until: float | None) -> Generator[bytes, None, None]:
    with selectors.DefaultSelector() as selector:
        selector.register(handle, selectors.EVENT_READ)
        while True:
            left = None if until is None else until - time.monotonic()
            if (left is not None and left <= 0) or not selector.select(left):
                raise TimeoutError
            data = os.read(handle, BLOCK)
            if not data:
                return
            yield data
