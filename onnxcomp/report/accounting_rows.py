"""The accounting of an inspected file in words, as rows of name and text for a table."""

from __future__ import annotations

from onnxcomp.deploy.targets import Target
from onnxcomp.model import Form
from onnxcomp.report.accounting import Cut, Savings
from onnxcomp.report.inspection import Inspection, share

Row = tuple[str, str]


def fact_rows(found: Inspection) -> list[Row]:
    """The zeros and cuts of the file, whatever runs it."""
    account, layers = found.accounting, len(found.layers)
    patterns = ", ".join(f"{count} {pattern}" for pattern, count in account.patterns.items() if count)
    rows = [
        ("zero weights", share(account.zeros, account.weights)),
        ("layers", patterns or "none"),
        ("2:4 pattern", f"in {account.two_four} of {layers} layers"),
        ("MACs with a zero", f"{_macs(account.macs_of_zeros, found.macs)}: an ideal machine would skip them"),
    ]
    if account.dead_outputs or account.dead_inputs:
        dead = f"{account.dead_outputs:,} outputs and {account.dead_inputs:,} inputs of layers"
        rows.append(("dead channels", f"{dead} have weights of 0 alone and are still computed"))
    if account.cut is not None:
        rows += _cut_rows(account.cut, final=found.form == Form.DEPLOYABLE.value)
    return rows


def _cut_rows(cut: Cut, *, final: bool) -> list[Row]:
    if not cut.parameters and final:
        return [("cut channels", "none: training had closed none that finalize could cut")]
    if not cut.parameters:
        return [("cut channels", "none yet: finalize cuts those that training closes")]
    weights = share(cut.parameters, cut.parameters_before)
    return [
        ("cut with channels", f"{_macs(cut.macs, cut.macs_before)} of the MACs, saved on every target"),
        ("", f"{weights} of the weights"),
    ]


def target_line(found: Inspection, target: Target) -> Row:
    """What zeros bring on one target, in a line."""
    savings = found.accounting.targets[target.name]
    text = target.sparsity
    if savings.considered:
        text += f"; here at most {_macs(_by_zeros(savings), found.macs)} of the MACs"
    elif target.two_four is not None:
        text += "; here it would consider none"
    return f"on {target.name}", text


def target_rows(found: Inspection, target: Target) -> list[Row]:
    """What one target makes of the file."""
    savings, cut = found.accounting.targets[target.name], found.accounting.cut
    saved = "0" if cut is None else f"{_macs(cut.macs, cut.macs_before)}: those of the channels cut"
    rows = [
        ("target", f"{target.name}: {target.description}"),
        ("MACs saved there", saved),
        ("zeros there", target.sparsity),
    ]
    if target.two_four is not None:
        first, *others = _two_four(found, savings, target.two_four)
        rows += [("2:4 there", first), *(("", text) for text in others)]
    unaligned, layers = len(savings.unaligned), len(found.layers)
    rows.append(("widths", f"multiples of {savings.alignment} in {layers - unaligned} of {layers} layers"))
    return rows


def _two_four(found: Inspection, savings: Savings, least: int) -> list[str]:
    convolutions = {layer.name for layer in found.layers if layer.op in ("Conv", "ConvTranspose")}
    wide = len(convolutions.intersection(savings.wide))
    others = f"{len(savings.wide) - wide} of {len(found.layers) - len(convolutions)} other layers"
    saved = _macs(_by_zeros(savings), found.macs)
    return [
        f"{wide} of {len(convolutions)} convolutions and {others} have the {least} input and output channels"
        " from which TensorRT would consider it, by rule",
        f"{len(savings.considered)} of these have the pattern: at most {saved} of the MACs saved",
        "TensorRT decides by timing a sparse and a dense kernel for each",
    ]


def _by_zeros(savings: Savings) -> int | None:
    if savings.macs_saved is None or savings.macs_saved_at_most is None:
        return None
    return savings.macs_saved_at_most - savings.macs_saved


def _macs(count: int | None, whole: int | None) -> str:
    return "an unknown number" if count is None or whole is None else share(count, whole)
