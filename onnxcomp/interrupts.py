"""Ctrl-C, SIGTERM and SIGHUP (the terminal went away), heard at a moment when nothing is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal ended the work; the command line prints it as one line and exits with :attr:`code`.

    Args:
        number: of the signal.
        text: what was saved and how to go on, without a full stop.
    """

    def __init__(self, number: int, text: str = "") -> None:
        self.number = number
        self.text = text
        super().__init__(text)

    @property
    def code(self) -> int:
        """The exit code: as a shell reports a process that the signal ended."""
        return 128 + self.number


class Signals:
    """Notes the first signal instead of letting it strike; a second one strikes at once.

    Use it as a context. A signal that the process was started to ignore (``nohup``, or ``&`` in a script)
    stays ignored. Outside the main thread, where Python takes no signals, nothing is noted.

    Args:
        wait: the first signal never strikes, not even in :meth:`at_once`: of several processes that
            work together none may leave alone.

    Attributes:
        pending: number of the signal that waits to be obeyed; 0 for none.
    """

    def __init__(self, *, wait: bool = False) -> None:
        self.pending = 0
        self._wait = wait
        self._strikes = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in STOPPING}
            for number in self._heard():
                signal.signal(number, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in self._heard():
            signal.signal(number, self._before[number])

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """While nothing is at stake: the first signal strikes too, as one that waits does.

        Raises:
            Interrupted: a signal came.
        """
        self._strikes = not self._wait
        try:
            if self._strikes and self.pending:
                raise Interrupted(self.pending)
            yield
        finally:
            self._strikes = False

    def _heard(self) -> list[signal.Signals]:
        """Those that are not ignored, nor handled by something that Python cannot give back."""
        return [number for number, handler in self._before.items() if handler not in (signal.SIG_IGN, None)]

    def _hear(self, number: int, frame: FrameType | None) -> None:
        second, self.pending = bool(self.pending), number
        if second or self._strikes:
            raise Interrupted(number)
