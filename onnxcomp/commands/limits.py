"""The limits of ``onnxcomp validate`` as options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from onnxcomp.commands.sections import option

if TYPE_CHECKING:
    from onnxcomp.parity.limits import Limits

F = TypeVar("F", bound=Callable[..., Any])

SECTION = "Limits"
ERROR_STATS = ("elemwise", "max", "mean", "median")
DROP_BY = ("lower", "estimate", "upper")
_OPTIONS = (
    option(SECTION, "--max-drop", type=float, help="Points of top-1 that CAND may lose; default: 0.5."),
    option(
        SECTION,
        "--drop-by",
        type=click.Choice(DROP_BY),
        help="What of the drop must be within --max-drop: the lower end of its interval (what chance explains"
        " never fails), the estimate, or the upper end (nothing passes by chance); default: lower.",
    ),
    option(SECTION, "--confidence", type=float, help="Of that interval, in percent; default: 95."),
    option(
        SECTION,
        "--min-agreement",
        type=click.FloatRange(0, 100),
        help="Least share of images with the same top-1 class, in percent.",
    ),
    option(SECTION, "--min-cosine", type=float, help="Least mean cosine of the logits."),
    option(SECTION, "--min-sqnr", type=float, help="Least SQNR of the logits, in dB."),
    option(SECTION, "--atol", type=click.FloatRange(min=0), help="Absolute tolerance of the logits."),
    option(SECTION, "--rtol", type=click.FloatRange(min=0), help="Tolerance as a share of REF's logits."),
    option(
        SECTION,
        "--check-error-stat",
        type=click.Choice(ERROR_STATS),
        help="Which errors must be within --atol or --rtol; default: elemwise.",
    ),
    option(
        SECTION,
        "--limits",
        "limits_path",
        metavar="FILE.yaml",
        type=click.Path(path_type=Path),
        help="All of these from a file, and those of inner tensors; options go before it.",
    ),
)


def options(command: F) -> F:
    """All of them."""
    for decorate in reversed(_OPTIONS):
        command = decorate(command)
    return command


def read(path: Path | None, asked: Mapping[str, Any]) -> Limits:
    """The limits that the options name.

    Raises:
        OnnxcompError: as :func:`onnxcomp.parity.limits.read_limits`.
        click.UsageError: a statistic without a tolerance.
    """
    from onnxcomp.parity.limits import read_limits

    found = read_limits(path, asked)
    if asked["check_error_stat"] is not None and found.tolerance is None:
        raise click.UsageError("--check-error-stat needs --atol or --rtol")
    return found
