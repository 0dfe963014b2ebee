"""Channel pruning: whole channels leave the network, which becomes smaller on any hardware."""

from onnxcomp.passes.channels.channels import Channels
from onnxcomp.passes.channels.cut import cut
from onnxcomp.passes.channels.dependencies import Dependencies, Group, find

__all__ = ["Channels", "Dependencies", "Group", "cut", "find"]
