"""Parameter groups: which tensors decay, and how fast each learns."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from onnxcomp.errors import TrainingError
from onnxcomp.training.blocks import Array

NO_DECAY = "--no-decay"
LR_SCALE = "--lr-scale"


@dataclass(frozen=True)
class Setting:
    """How one tensor is trained.

    Attributes:
        weight_decay: 0 for none.
        lr_scale: factor of the learning rate; 0 freezes the tensor, which then does not decay either.
    """

    weight_decay: float
    lr_scale: float


@dataclass(frozen=True)
class Groups:
    """Rules from a tensor's name and shape to its setting.

    Patterns are a shell's (``features.denseblock1.*``), case-sensitive; a tensor's own name always
    matches it.

    Attributes:
        no_decay: patterns of tensors that do not decay, whatever their shape.
        lr_scale: (pattern, factor) pairs; of several that match, the last one counts.
        decay_vectors: whether tensors with at most one axis longer than 1 decay too: biases, scale and
            shift of normalisations. PyTorch decays them unless told otherwise; the usual recipes tell it.

    Raises:
        TrainingError: a factor is negative or not finite.
    """

    no_decay: tuple[str, ...] = ()
    lr_scale: tuple[tuple[str, float], ...] = ()
    decay_vectors: bool = False

    def __post_init__(self) -> None:
        for pattern, factor in self.lr_scale:
            if not 0 <= factor < math.inf:
                raise TrainingError(
                    f"{pattern}={factor:g} is out of range", where=LR_SCALE, fix="give a factor of 0 or more"
                )

    @classmethod
    def parse(
        cls, no_decay: Iterable[str] = (), lr_scale: Iterable[str] = (), *, decay_vectors: bool = False
    ) -> Groups:
        """From text; an entry of ``lr_scale`` is ``pattern=factor``.

        Raises:
            TrainingError: an entry is malformed or out of range.
        """
        return cls(tuple(no_decay), tuple(_pair(text) for text in lr_scale), decay_vectors)

    def among(self, names: Collection[str], absent: Collection[str]) -> Groups:
        """The same rules without the patterns that match some of ``absent`` and none of ``names``."""

        def stays(pattern: str) -> bool:
            return any(_matches(name, pattern) for name in names) or not any(
                _matches(name, pattern) for name in absent
            )

        return replace(
            self,
            no_decay=tuple(pattern for pattern in self.no_decay if stays(pattern)),
            lr_scale=tuple(pair for pair in self.lr_scale if stays(pair[0])),
        )

    def settings(
        self, parameters: Mapping[str, Array], weight_decay: float, undecayed: Collection[str] = ()
    ) -> dict[str, Setting]:
        """The setting of each of ``parameters``, by name.

        Args:
            weight_decay: of the tensors that decay.
            undecayed: names of those that do not, whatever the rules say (scales of Q/DQ).

        Raises:
            TrainingError: a pattern matches none of them.
        """
        for option, patterns in ((NO_DECAY, self.no_decay), (LR_SCALE, [p for p, _ in self.lr_scale])):
            for pattern in patterns:
                _check_matches(pattern, parameters, option)
        return {
            name: Setting(
                weight_decay if name not in undecayed and self._decays(name, values) else 0.0,
                self._factor(name),
            )
            for name, values in parameters.items()
        }

    def _decays(self, name: str, values: Array) -> bool:
        if any(_matches(name, pattern) for pattern in self.no_decay):
            return False
        return self.decay_vectors or not is_vector(values)

    def _factor(self, name: str) -> float:
        return next((f for pattern, f in reversed(self.lr_scale) if _matches(name, pattern)), 1.0)


def is_vector(values: Array) -> bool:
    """At most one axis is longer than 1."""
    return values.size <= max(values.shape, default=1)


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)


def _check_matches(pattern: str, names: Collection[str], option: str) -> None:
    if any(_matches(name, pattern) for name in names):
        return
    near = difflib.get_close_matches(pattern.replace("*", ""), names, n=3, cutoff=0.0)
    raise TrainingError(
        f"{pattern!r} matches no tensor that is trained",
        where=option,
        fix=f"the nearest are {', '.join(near)}",
    )


def _pair(text: str) -> tuple[str, float]:
    pattern, equals, factor = text.rpartition("=")
    try:
        if equals and pattern:
            return pattern, float(factor)
    except ValueError:
        pass
    raise TrainingError(f"{text!r} is not pattern=factor", where=LR_SCALE, fix="for example 'features.*=0.1'")
