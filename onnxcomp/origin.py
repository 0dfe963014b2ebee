"""Which pass added a node, and what for: read off the names that the passes give."""

from __future__ import annotations

from dataclasses import dataclass

from onnxcomp import graphs

SAYS = "onnxcomp: "
"""How a text about a node begins that onnxcomp wrote into a file."""
TRAINING = "training"
TASK = f"{graphs.LOSS_PREFIX}task"
TOTAL = f"{graphs.LOSS_PREFIX}total"
# Longest beginning first.
ROLES = (
    (f"{graphs.TEACHER_PREFIX}{graphs.LOSS_PREFIX}", "distill", "teacher's side of loss"),
    (graphs.TEACHER_PREFIX, "distill", "teacher"),
    (graphs.CONNECTOR_PREFIX, "distill", "connector of loss"),
    (graphs.LOSS_PREFIX, "distill", "loss"),
    (graphs.PRUNE_PREFIX, "prune", "mask of"),
)
PAIR = {"QuantizeLinear": "quantize", "DequantizeLinear": "dequantize"}


@dataclass(frozen=True)
class Origin:
    """Where a node that is not of the user's network comes from.

    Attributes:
        step: name of the pass; ``training`` for the losses that every compression form has.
        role: ``mask of``, ``quantize``, ``dequantize``, ``teacher``, ``teacher's side of loss``,
            ``connector of loss``, ``loss``, ``task loss`` or ``total loss``.
        of: name of the tensor that it masks or quantises, of the node that it copies, or its place in
            the loss.
    """

    step: str
    role: str
    of: str

    def __str__(self) -> str:
        who = "for training" if self.step == TRAINING else f"by {self.step}"
        return f"added {who}: {self.role} {self.of}".rstrip()


def origin(name: str, op: str) -> Origin | None:
    """The origin of a node by its name and operator; None for one of the network itself.

    Names of a user's own nodes never begin so: reading a file renames those that do.
    """
    if name.startswith(graphs.QAT_PREFIX):
        role = PAIR.get(op)
        of = name.removeprefix(graphs.QAT_PREFIX)
        return None if role is None else Origin("qat", role, of.removesuffix(f"/{role}"))
    for beginning, role in ((TASK, "task loss"), (TOTAL, "total loss")):
        if name == beginning or name.startswith(f"{beginning}/"):
            return Origin(TRAINING, role, name.removeprefix(beginning).removeprefix("/"))
    for prefix, step, role in ROLES:
        if name.startswith(prefix):
            return Origin(step, role, name.removeprefix(prefix))
    return None
