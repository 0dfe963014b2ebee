"""One target for each kind: of those that finalize and lint treat alike one is enough."""

from __future__ import annotations

from onnxcomp.deploy import targets

KINDS = {target.name: target for target in targets.KINDS}
