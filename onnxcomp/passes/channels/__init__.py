"""Channel pruning: whole channels leave the network, which becomes smaller on any hardware."""

from onnxcomp.passes.channels.cut import cut
from onnxcomp.passes.channels.dependencies import Dependencies, Group, find

__all__ = ["Dependencies", "Group", "cut", "find"]
