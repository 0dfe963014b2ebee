"""Where Q/DQ stands: decided per target, as data with a reason for each decision."""

from onnxcomp.passes.qat.placement.place import place
from onnxcomp.passes.qat.placement.sites import Left, Placement, Site
from onnxcomp.passes.qat.placement.switches import ConcatMode, Switches

__all__ = ["ConcatMode", "Left", "Placement", "Site", "Switches", "place"]
