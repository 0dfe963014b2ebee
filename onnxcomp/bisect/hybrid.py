"""Networks that are one network's here and another's there.

Where two networks compute tensors of the same names, each such tensor may come from either: the piece of
graph that computes it from the shared tensors before it is taken from one of them, and whatever reads it does
not mind.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import onnx

from onnxcomp.bisect import integers
from onnxcomp.model import Model, to_proto
from onnxcomp.opset_up import raise_opset
from onnxcomp.parity.compare import with_names_of
from onnxcomp.parity.matching import Match, matches
from onnxcomp.student import student

REFERENCE, CANDIDATE = "reference/", "candidate/"
"""Before the names of what only one of them reads."""


class Hybrids:
    """All networks between a reference and a candidate.

    Args:
        reference, candidate: of one input and one number of classes; both are left as they are.

    Attributes:
        shared: the tensors that may come from either, in the candidate's order; the logits are the last.
        image: name of the input.
        logits: name of the output.
        batch: the fixed batch of one of them; None where both are free.

    Raises:
        ModelError: one of them cannot be brought to the other's opset.
    """

    def __init__(self, reference: Model, candidate: Model) -> None:
        first, second = student(reference), with_names_of(candidate, reference)
        integers.show(second.graph, [tensor.name for node in first.graph.nodes for tensor in node.outputs])
        for model, other in ((first, second), (second, first)):
            raise_opset(model.graph, other.graph.opset, where=model.graph.name)
        self.shared: list[Match] = matches(first, second)
        self.image, self.logits = first.image.name, first.logits.name
        self.batch = first.batch or second.batch
        names = {match.tensor for match in self.shared}
        self._frame = to_proto(second)
        self._makers: dict[str, onnx.NodeProto] = {}
        self._arrays: dict[str, onnx.TensorProto] = {}
        for side, proto in ((REFERENCE, to_proto(first)), (CANDIDATE, self._frame)):
            self._take(side, proto, {self.image, *names})
        self._names = names
        for field in ("node", "initializer", "value_info", "output"):
            self._frame.graph.ClearField(field)

    def _take(self, side: str, proto: onnx.ModelProto, shared: Collection[str]) -> None:
        """Hold the nodes and arrays of one side, under names of its own but for what is shared."""

        def own(name: str) -> str:
            return name if not name or name in shared else f"{side}{name}"

        for node in proto.graph.node:
            node.name = f"{side}{node.name}"
            node.input[:] = [own(name) for name in node.input]
            # Those of both sides have other names, so that a network may hold both.
            node.output[:] = [f"{side}{name}" if name else name for name in node.output]
            self._makers.update((name, node) for name in node.output if name)
        for array in proto.graph.initializer:
            array.name = own(array.name)
            self._arrays[array.name] = array

    def network(self, of_reference: Collection[str], outputs: Collection[str] = ()) -> bytes:
        """A ModelProto, serialised, that gives the logits.

        Args:
            of_reference: shared tensors that the reference's pieces compute; the candidate's compute the
                others.
            outputs: what to give instead of the logits; a shared tensor after :data:`REFERENCE` or
                :data:`CANDIDATE` is the piece's answer of that side, whoever's is read on.
        """
        origin = {name: f"{REFERENCE if name in of_reference else CANDIDATE}{name}" for name in self._names}
        wanted = [origin.get(name, name) for name in (outputs or [self.logits])]
        model = onnx.ModelProto()
        model.CopyFrom(self._frame)
        used: set[str] = set()
        for node in self._needed(wanted, origin):
            added = model.graph.node.add()
            added.CopyFrom(node)
            added.input[:] = [origin.get(name, name) for name in node.input]
            used.update(node.input)
        model.graph.initializer.extend(self._arrays[name] for name in sorted(used & set(self._arrays)))
        for name in wanted:
            model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        data: bytes = model.SerializeToString()
        return data

    def _needed(self, wanted: Collection[str], origin: dict[str, str]) -> Iterator[onnx.NodeProto]:
        """The nodes that give ``wanted``, each after those that it reads."""
        makers = self._makers
        done: set[int] = set()
        waiting = [(makers[name], False) for name in wanted]
        while waiting:
            node, ready = waiting.pop()
            if id(node) in done:
                continue
            if ready:
                done.add(id(node))
                yield node
                continue
            waiting.append((node, True))
            read = (origin.get(name, name) for name in node.input)
            waiting += [(makers[name], False) for name in read if name in makers]
