"""How a run shows where it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

BAR = 12
GAPS = 12
"""Characters of the remaining time and of the gaps between columns."""
IMPORTANT = ("loss", "accuracy", "images_per_second", "sparsity")


class Progress(Protocol):
    """Told by the training loop what happens."""

    def begin(self, done: int, total: int, what: str = "step") -> None:
        """The run starts after ``done`` of ``total`` steps, or of ``what`` else is counted."""

    def update(self, done: int, values: Mapping[str, float]) -> None:
        """``done`` steps are done; ``values`` are the latest averages by name."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def counting(self, what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Something that is no step takes long; gives what is told how many more are done."""

    def working(self, what: str) -> AbstractContextManager[None]:
        """Something that cannot be counted takes long."""


class Silent:
    """Shows nothing."""

    def begin(self, done: int, total: int, what: str = "step") -> None:
        pass

    def update(self, done: int, values: Mapping[str, float]) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def counting(self, what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        return nullcontext(lambda count: None)

    def working(self, what: str) -> AbstractContextManager[None]:
        return nullcontext()


class ConsoleProgress:
    """One bar on a terminal; elsewhere a line at each tenth of the run. Use it as a context.

    Args:
        console: standard error for commands whose standard output is the result.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._total, self._what = 1, "step"
        self._tenth = 0
        self._bar = Bar(
            BarColumn(bar_width=BAR),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[values]}"),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> ConsoleProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, done: int, total: int, what: str = "step") -> None:
        self._total, self._what = total, what
        self._tenth = 10 * done // total
        for finished in self._bar.task_ids:
            self._bar.remove_task(finished)
        self._task = self._bar.add_task(what, total=total, completed=done, values="")
        self._bar.start()

    def update(self, done: int, values: Mapping[str, float]) -> None:
        text = summary(values)
        left = self._console.width - BAR - 2 * len(str(self._total)) - GAPS
        self._bar.update(self._task, completed=done, values=summary(values, width=left))
        tenth = 10 * done // self._total
        if not self._console.is_terminal and tenth > self._tenth:
            self._tenth = tenth
            self._line(f"{self._what} {done}/{self._total}  {text}".rstrip())

    def note(self, text: str) -> None:
        self._line(text)

    @contextmanager
    def counting(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar of its own while it lasts, on a terminal; elsewhere nothing."""
        with self._task_of(what, total) as task:
            yield lambda count: self._bar.advance(task, count)

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """A bar that says only that something goes on, on a terminal; elsewhere nothing."""
        with self._task_of(what, None):
            yield

    @contextmanager
    def _task_of(self, what: str, total: int | None) -> Iterator[TaskID]:
        task = self._bar.add_task(what, total=total, values=what)
        self._bar.start()
        try:
            yield task
        finally:
            self._bar.remove_task(task)

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def summary(values: Mapping[str, float], *, width: int | None = None) -> str:
    """The values in one line. ``accuracy`` comes in percent, ``sparsity`` as a share.

    Args:
        width: characters that there are; what matters least is left out until it fits.
    """
    shown = {name: _text(name, value) for name, value in values.items() if name != "gradient_norm"}
    for name in sorted(shown, key=_rank, reverse=True):
        if width is None or len("  ".join(shown.values())) <= width:
            break
        del shown[name]
    return "  ".join(shown.values())


def _rank(name: str) -> int:
    """Names that matter more come first; the terms of the loss last."""
    return IMPORTANT.index(name) if name in IMPORTANT else len(IMPORTANT)


def _text(name: str, value: float) -> str:
    if name == "accuracy":
        return f"{name} {value:.1f} %"
    if name == "sparsity":
        return f"{name} {value:.1%}".replace("%", " %")
    if name == "images_per_second":
        return f"{value:.0f} images/s"
    return f"{name.removeprefix('loss/')} {value:.3g}"
