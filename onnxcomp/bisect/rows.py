"""A bisection as rows and lines of text."""

from __future__ import annotations

from onnxcomp.bisect.bisection import Bisection
from onnxcomp.bisect.local import Suspect
from onnxcomp.bisect.trials import Score

COLUMNS = ("tensor", "op", "node", "SQNR dB", "worst channel", "its SQNR dB")
OPTIONAL = ("tensor", "SQNR dB")
MANY = 8
"""From here on no layer is the culprit."""


def summary_rows(found: Bisection) -> list[tuple[str, ...]]:
    """Reference, candidate and the candidate with what is to blame from the reference."""
    rows = [("reference", found.reference), ("candidate", found.candidate)]
    if found.blamed:
        rows.append((f"candidate, {_count(len(found.blamed))} of the reference", found.mended))
    return [(name, f"{score.top1:.2f} %", _noise(score)) for name, score in rows]


def suspect_rows(suspects: tuple[Suspect, ...]) -> list[tuple[str, ...]]:
    """Cells for :data:`COLUMNS`."""
    return [
        (
            one.tensor,
            one.op,
            one.node,
            f"{one.sqnr:.1f}",
            str(one.channel),
            f"{one.channel_sqnr:.1f}",
        )
        for one in suspects
    ]


def table(found: Bisection) -> dict[str, object]:
    """Everything, for ``--json``."""
    return {
        "first": found.first,
        "recovered": found.recovered,
        "recovered_by_outliers": found.recovered_by_outliers,
        **vars(found),
    }


def lines(found: Bisection) -> list[str]:
    """What was found, in words."""
    if found.first is None and not found.blamed:
        return ["nothing is lost" + (" in top-1; try --by logits" if found.by == "top-1" else "")]
    said = []
    if found.outliers:
        first = found.outliers[0]
        said.append(
            f"first node at fault: {first.op} {first.node}; on the reference's tensors channel"
            f" {first.channel} of {first.tensor} is wrong by {_wrong(first)} of its power, which rounding"
            " does not explain"
        )
        others = f" with {len(found.outliers) - 1} others like it" if len(found.outliers) > 1 else ""
        said.append(
            f"from the reference it brings back{others} {found.recovered_by_outliers:.0f} % of the"
            f" {_what(found)}"
        )
    elif found.crossing is not None:
        alone = "no layer is wrong by itself"
        if found.differing:
            alone = (
                f"{found.differing} of {len(found.suspects)} layers differ by more than rounding does, as"
                " after training, where none is at fault alone"
            )
        said.append(f"{alone}; half of the loss is there from {found.crossing.op} {found.crossing.node} on")
    said.append(_set(found))
    return said


def _set(found: Bisection) -> str:
    if not found.blamed:
        return "nothing is lost on these images"
    if len(found.blamed) == len(found.suspects):
        return "no set of fewer layers than all was found; give more --trials"
    text = (
        f"smallest set found: {_count(len(found.blamed))}, which from the reference bring back"
        f" {found.recovered:.0f} % of the {_what(found)}"
    )
    if len(found.blamed) < MANY:
        text += ": " + ", ".join(f"{one.op} {one.node}" for one in found.blamed)
    else:
        text += "; so many share the loss as rounding does, and not as a fault"
    return text + ("" if found.minimal else " (more --trials may find a smaller one)")


def _what(found: Bisection) -> str:
    return "points of top-1" if found.by == "top-1" else "noise of the logits"


def _count(number: int) -> str:
    return "1 layer" if number == 1 else f"{number} layers"


def _wrong(suspect: Suspect) -> str:
    share = 100 * 10 ** (-suspect.channel_sqnr / 10)
    return f"{share:.0f} %" if share < 1e6 else "more than 10,000 times"


def _noise(score: Score) -> str:
    return f"{100 * score.noise:.3g} %"
