"""Each limit held against what was measured: one check, which passes or says in a line why not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from onnxcomp.parity.compare import Comparison
from onnxcomp.parity.interval import Drop
from onnxcomp.parity.layers import LayerErrors
from onnxcomp.parity.limits import Limits

ROUNDING = 1e-9  # a figure of exactly the limit passes whatever its last bit
SHOWN = 3


@dataclass(frozen=True)
class Check:
    """One limit.

    Attributes:
        name: what is limited.
        asked: the limit.
        found: what was measured.
        failure: one line; "" where the limit holds.
    """

    name: str
    asked: str
    found: str
    failure: str = ""

    @property
    def passed(self) -> bool:
        return not self.failure


def drop_checks(
    drop: Drop, before: float, after: float, limits: Limits, where: str = ""
) -> tuple[list[Check], list[str]]:
    """The limit of the drop, and what is worth a note though it holds.

    Args:
        before, after: top-1 in percent.
        where: put before each line, such as "on the device ".
    """
    if limits.max_drop is None:
        return [], []
    judged = {"lower": drop.low, "estimate": drop.points, "upper": drop.high}[limits.drop_by]
    most = limits.max_drop + ROUNDING
    asked = f"at most {limits.max_drop:g}"
    if limits.drop_by != "estimate":
        asked += f", {limits.drop_by} end of {drop.confidence:g} %"
    line = (
        f"{where}top-1 falls by {drop.text()}, from {before:.2f} % to {after:.2f} % on {drop.count:,} images;"
        f" at most {limits.max_drop:g} is allowed"
    )
    if limits.drop_by == "upper":
        line += ", and that is not sure; more images may tell"
    failed = judged > most
    notes = []
    if not failed and drop.points > most:
        notes.append(f"{line}: no more than chance explains on these images; more images would tell")
    return [Check(f"{where}top-1 drop", asked, drop.text(), line if failed else "")], notes


def comparison_checks(found: Comparison, limits: Limits, run: str = "") -> Iterator[Check]:
    """The limits of the logits.

    Args:
        run: whose logits, where they are not the candidate's.
    """
    of = f"{run}: " if run else ""
    finite = "" if found.finite else f"{of}NaN or infinity among the logits of {found.count} images"
    yield Check(f"{of}finite logits", "no NaN, no infinity", "yes" if found.finite else "no", finite)
    if limits.min_agreement is not None:
        asked = f"at least {limits.min_agreement:g} %"
        low = not found.agreement >= limits.min_agreement - ROUNDING
        line = (
            f"{of}the same top-1 class on {found.agreement:.2f} % of {found.count} images; {asked} is asked"
            " for"
        )
        yield Check(f"{of}same top-1 class", asked, f"{found.agreement:.2f} %", line if low else "")
    for name, least, value, unit, digits in (
        ("cosine", limits.min_cosine, found.cosine, "", 6),
        ("SQNR", limits.min_sqnr, found.sqnr, " dB", 1),
    ):
        if least is not None:
            low = not value >= least - ROUNDING
            text = f"{value:.{digits}f}{unit}"
            line = (
                f"{of}the {name} of the logits of {found.count} images is {text}; at least {least:g}{unit}"
                " is asked for"
            )
            yield Check(f"{of}{name}", f"at least {least:g}{unit}", text, line if low else "")
    if limits.tolerance is not None:
        yield _tolerance(found, limits, of)


def _tolerance(found: Comparison, limits: Limits, of: str) -> Check:
    asked = limits.tolerance
    assert asked is not None
    text = f"atol {asked.atol:g}, rtol {asked.rtol:g} ({asked.error_stat})"
    differences = f"at most {found.max_absolute:.3g}, on average {found.mean_absolute:.3g}"
    line = f"{of}logits differ by {differences}: not within {text}"
    return Check(f"{of}Polygraphy", text, differences, "" if found.passed else line)


def layer_check(found: LayerErrors, limits: Limits) -> Check:
    """The limits of inner tensors, with the first that do not hold theirs."""
    below = found.below(limits.layers)
    worst = min(found.errors, key=lambda error: error.sqnr)
    asked = ", ".join(f"{pattern} {least:g} dB" for pattern, least in limits.layers.items())
    if not below:
        return Check("layers", asked, f"{worst.sqnr:.1f} dB at worst, {worst.tensor}")
    first = ", ".join(
        f"{error.tensor} ({error.op} {error.node}) at {error.sqnr:.1f} dB of {least:g}"
        for error, least in below[:SHOWN]
    )
    more = f" and {len(below) - SHOWN} more" if len(below) > SHOWN else ""
    line = f"{len(below)} of {len(found.errors)} inner tensors are below their SQNR, the first {first}{more}"
    return Check("layers", asked, f"{len(below)} below", line)
