"""The lines of ``metrics.jsonl`` as numbers in groups: what TensorBoard and the curves show together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

_WHERE = {"step", "epoch", "event"}
_TEST = "test_accuracy"


class Sink(Protocol):
    """Takes the records of a run, as ``RunDir.log`` does."""

    def log(self, record: Mapping[str, Any]) -> None:
        """Keep one record for good; it has a ``step``.

        Raises:
            TrainingError: it cannot be written.
        """

    def close(self) -> None:
        """No more records will come."""


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a record by ``group/name``, or by name alone where a group has one.

    Accuracies are in percent, ``sparsity`` is a share, ``lr`` and losses have no unit.
    """
    return {
        tag(name): float(value)
        for name, value in record.items()
        if name not in _WHERE and isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def tag(name: str) -> str:
    """``loss/total``, ``loss/task``, ``accuracy/train``, ``accuracy/test``, ``lr``, ... from a key."""
    if name == "loss":
        return "loss/total"
    if name == "accuracy":
        return "accuracy/train"
    if name.startswith(_TEST):
        return "accuracy/test" + name.removeprefix(_TEST)
    return name
