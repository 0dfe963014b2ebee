"""Temporary folders on a device that are gone at the end, even where the connection is lost for good.

While one is open, a small shell script there, its keeper, sees whether the connection lives: each command
writes the process number of its server (its own parent) into the folder. Where that has been gone for
:data:`ALONE` seconds, the keeper ends the jobs in the folder and removes it. It ends with the folder.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from onnxcomp.deploy.machine import DeviceError
from onnxcomp.deploy.remote.failures import refused
from onnxcomp.deploy.remote.ssh import Connection, with_words

ALONE = 900.0
"""Seconds without a connection after which jobs are ended; we give up long before."""
STEP = 10.0
"""Seconds between two looks of the keeper."""
GRACE = 5
"""Seconds there between SIGTERM and SIGKILL."""
DAY = 24 * 60
"""Minutes after which a folder without a keeper is removed: the device was switched off."""
MONTH = 30
"""Days after which a copy that nobody used is removed."""
SAME_BOOT = '[ "$(cat /proc/sys/kernel/random/boot_id 2>&1)" = "$(cat {}/.boot 2>&1)" ]'

# A job that is over is not signalled: its number may be another's by now, and after a restart all may be.
CLEAN = f"""clean() {{
if {SAME_BOOT.format('"$1"')}; then
  g=; for p in "$1"/job-*/pid; do [ -s "$p" ] && [ ! -e "${{p%pid}}code" ] && g="$g -$(cat "$p")"; done
  for s in TERM KILL; do for p in $g; do
    n=0; kill -s $s -- $p 2>/dev/null
    while kill -s 0 -- $p 2>/dev/null && [ $n -lt {10 * GRACE} ]; do sleep 0.1; n=$((n+1)); done
  done; done
fi
rm -rf "$1" || {{ sleep 1; rm -rf "$1"; }}
}}
"""
KEEPER = f"""{CLEAN}
n=0; while sleep $1 && [ -d "$0" ]; do
  if [ -d "/proc/$(cat "$0/.owner")" ]; then n=0; else n=$((n+1)); fi
  [ $n -lt $2 ] || {{ clean "$0"; exit; }}
done"""
OPEN = f"""cd "$1" || exit
for d in w-*; do
  grep -qs "$d" "/proc/$(cat "$d/.keeper")/cmdline" || find "$d" -maxdepth 0 -mmin +{DAY} -exec rm -rf {{}} +
done 2>/dev/null
find .. -type f -name '*.part' -mmin +{DAY} -exec rm -f {{}} + 2>/dev/null
find ../models -type f -mtime +{MONTH} -exec rm -f {{}} + 2>/dev/null
umask 077; mkdir "$2" || [ -d "$2" ] || exit
head -c 4096 /dev/zero > "$2/.room" && rm "$2/.room" || exit  # it says why not, which sh's echo does not
cat /proc/sys/kernel/random/boot_id > "$2/.boot" 2>&1; echo $PPID > "$2/.owner" || exit
if [ ! -s "$2/.keeper" ]; then
  setsid sh -c "$3" "$PWD/$2" "$4" "$5" </dev/null >/dev/null 2>&1 &
  echo $! > "$2/.keeper"
fi"""
CLOSE = f"""{CLEAN}
k=$(cat "$1/.keeper" 2>/dev/null)
[ -z "$k" ] || ! grep -qs "$2" "/proc/$k/cmdline" || kill -s TERM -- -$k 2>/dev/null
clean "$1"; [ ! -e "$1" ]"""
OWN = "[ ! -e {0} ] || echo $PPID > {0}/.owner"


@contextmanager
def workspace(connection: Connection, root: str) -> Iterator[str]:
    """A new folder in ``root`` there.

    What earlier runs left, because the device was switched off, is removed after a day.

    Raises:
        DeviceError: it cannot be made.
    """
    name = f"w-{secrets.token_hex(8)}"  # known before: opening may be tried twice, or interrupted
    folder = f"{root}/{name}"
    try:
        _open(connection, root, name)
        connection.preludes.append(OWN.format(shlex.quote(folder)))
        try:
            yield folder
        finally:
            connection.preludes.pop()
    finally:
        with suppress(DeviceError):  # gone for good: its keeper removes it
            connection.persistently(lambda: connection.run(with_words(CLOSE, folder, name)))


def _open(connection: Connection, root: str, name: str) -> None:
    looks = max(1, round(ALONE / STEP))
    script = with_words(OPEN, root, name, KEEPER, f"{STEP:g}", str(looks))
    done = connection.persistently(lambda: connection.run(script))
    if done.code != 0:
        fix = "see that its disk can be written"
        raise refused(done, connection.host, "a temporary folder there cannot be made", fix)
