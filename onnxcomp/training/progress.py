"""How a run shows where it is."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress(Protocol):
    """Told by the training loop what happens."""

    def begin(self, done: int, total: int) -> None:
        """The run starts after ``done`` of ``total`` steps."""

    def update(self, done: int, values: Mapping[str, float]) -> None:
        """``done`` steps are done; ``values`` are the latest averages by name."""

    def note(self, text: str) -> None:
        """Something worth a line."""


class Silent:
    """Shows nothing."""

    def begin(self, done: int, total: int) -> None:
        pass

    def update(self, done: int, values: Mapping[str, float]) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class ConsoleProgress:
    """One bar on a terminal; elsewhere a line at each tenth of the run. Use it as a context.

    Args:
        console: standard error for commands whose standard output is the result.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._total = 1
        self._tenth = 0
        self._bar = Bar(
            TextColumn("training"),
            BarColumn(bar_width=20),
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

    def begin(self, done: int, total: int) -> None:
        self._total = total
        self._tenth = 10 * done // total
        for finished in self._bar.task_ids:
            self._bar.remove_task(finished)
        self._task = self._bar.add_task("training", total=total, completed=done, values="")
        self._bar.start()

    def update(self, done: int, values: Mapping[str, float]) -> None:
        text = summary(values)
        self._bar.update(self._task, completed=done, values=text)
        tenth = 10 * done // self._total
        if not self._console.is_terminal and tenth > self._tenth:
            self._tenth = tenth
            self._line(f"step {done}/{self._total}  {text}")

    def note(self, text: str) -> None:
        self._line(text)

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def summary(values: Mapping[str, float]) -> str:
    """The values in one line. ``accuracy`` comes in percent, ``sparsity`` as a share."""
    shown = []
    for name, value in values.items():
        if name == "accuracy":
            shown.append(f"{name} {value:.1f} %")
        elif name == "sparsity":
            shown.append(f"{name} {value:.1%}".replace("%", " %"))
        elif name == "images_per_second":
            shown.append(f"{value:.0f} images/s")
        else:
            shown.append(f"{name.removeprefix('loss/')} {value:.3g}")
    return "  ".join(shown)
