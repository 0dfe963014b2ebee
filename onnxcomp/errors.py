"""The one family of user errors: the command line prints them as one line and exits with code 2."""

from __future__ import annotations

from onnxcomp.visible import visible


class OnnxcompError(Exception):
    """Bad input or usage.

    Args:
        what: what is wrong, without a full stop.
        where: the file, node, option or row it is about; printed first.
        fix: what the user can do about it; printed last.
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what = what
        self.where = where
        self.fix = fix
        super().__init__(str(self))

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        return visible(" ".join((f"{line}; {self.fix}" if self.fix else line).split()))


class ModelError(OnnxcompError):
    """A file that is not ONNX, or a network outside what onnxcomp takes."""


class DataError(OnnxcompError):
    """A data set that cannot be read or does not fit the network."""


class RecipeError(OnnxcompError):
    """An unknown pass or option, a value out of range, or an order that is not legal."""


class PassError(OnnxcompError):
    """A pass cannot be applied; names the pass, the node and the remedy."""


class TrainingError(OnnxcompError):
    """A network that cannot be trained, or a run directory that does not fit it."""


class CheckpointError(TrainingError):
    """A checkpoint that is damaged or belongs to another model."""


class MissingPackageError(OnnxcompError):
    """An optional package is absent, or two that exclude each other are installed."""
