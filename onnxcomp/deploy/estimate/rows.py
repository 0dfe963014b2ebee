"""An estimate as lines and rows of tables; each says that it is one."""

from __future__ import annotations

from onnxcomp.deploy.estimate.estimate import Estimate

COLUMNS = ("layer", "us", "share", "type", "bound by", "M mult-adds", "kB moved", "why not INT8")
OPTIONAL = ("why not INT8", "kB moved")


def rows(found: Estimate, count: int = 0) -> list[tuple[str, ...]]:
    """The layers that take most, with :data:`COLUMNS`; ``count`` of them, 0 for all."""
    ordered = sorted(found.layers, key=lambda layer: -layer.us)
    return [
        (
            layer.work.name,
            f"{layer.us:.1f}",
            f"{100 * layer.share:.1f} %",
            layer.work.precision + (" 2:4" if layer.sparse else ""),
            layer.bound,
            f"{layer.work.macs / 1e6:.2f}" if layer.work.macs else "-",
            f"{layer.work.moved / 1e3:.1f}",
            layer.work.why or "-",
        )
        for layer in (ordered[:count] if count else ordered)
        if layer.us
    ]


def lines(found: Estimate) -> list[str]:
    """Totals, what would change most, and what is assumed."""
    images = 1e6 * found.batch / found.us
    busy = [layer for layer in found.layers if layer.us]
    number, us = found.reformats
    text = [
        f"estimate, not measured: {found.us / 1000:.3f} ms at batch {found.batch}, {images:,.0f} images/s",
        f"{len(busy)} layers, {100 * found.int8:.0f} % of the time in INT8",
    ]
    by = {
        kind: sum(layer.share for layer in found.layers if layer.bound == kind and layer.us)
        for kind in ("arithmetic", "memory", "launch")
    }
    text.append("bound by " + ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in by.items()))
    if number:
        text.append(f"reformats at borders between types: {number}, {us:.1f} us")
    if found.changes:
        text.append("what would change it most (estimates):")
    text += [
        f"  {what}: {left / 1000:.3f} ms, {found.us / left:.2f} times as fast" for what, left in found.changes
    ]
    given = found.assumptions
    text.append(
        f"assumed: kernels reach {given.compute:.0%} of the arithmetic rate and {given.bandwidth:.0%} of the"
        f" bandwidth, take {given.layer:g} us at least and {given.launch:g} us between two"
    )
    return text
