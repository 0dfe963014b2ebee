"""All rules on one file."""

from __future__ import annotations

from pathlib import Path

from onnxcomp.deploy.lint import cpu, dla, dla_limits, dla_precision, layers, operators, pairs, qdq, session
from onnxcomp.deploy.lint.network import Network, name_of, read
from onnxcomp.deploy.lint.report import Report, Where
from onnxcomp.deploy.lint.rule import Rule, findings
from onnxcomp.deploy.targets import Target

RULES: tuple[Rule, ...] = (
    *operators.RULES,
    *qdq.RULES,
    *layers.RULES,
    *cpu.RULES,
    *dla.RULES,
    *dla_limits.RULES,
)


def lint(path: Path, target: Target, *, run: bool = True) -> Report:
    """Check the ONNX file ``path``, from whatever tool, by every rule that holds for ``target``.

    Args:
        run: also run it in ONNX Runtime, with Polygraphy.

    Raises:
        ModelError: it is not an ONNX file, or its data is missing.
    """
    network = read(path)
    found = [one for rule in RULES for one in findings(rule, network, target)]
    notes = [f"shapes are not known ({network.no_shapes})"] if network.no_shapes else []
    if run:
        more, line = session.run(path, target)
        found += more
        notes.append(line)
    return Report(
        target=target.name,
        description=target.description,
        findings=tuple(sorted(found, key=lambda one: one.severity)),  # a stable sort: "error" < "warning"
        int8=_int8(network, target),
        notes=tuple(notes),
    )


def _int8(network: Network, target: Target) -> Where | None:
    if target.dla:
        return dla_precision.coverage(network)
    quantized = any(pairs.pair_nodes(network))
    if quantized and target.tensorrt is None:
        return cpu.coverage(network)
    found = list(pairs.layers(network))
    if not quantized or not found:
        return None
    floats = tuple(name_of(layer.node) for layer in found if not layer.quantized)
    return Where(len(found) - len(floats), len(found), floats)
