"""Files as trtexec of several versions writes them, made for these tests after NVIDIA's documents.

Of one small network, :func:`tests.deploy.profile.network.network`, with batch 4. All times are made up.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.shared import SHARED

FOLDER = Path(__file__).parent
VERSIONS = ("8.5", "8.6", "10", "11")
REAL = SHARED / "samples"
needs_real = pytest.mark.skipif(
    not (REAL / "layerinfo_trt8.json").is_file(),
    reason="needs real output of trtexec in shared/samples beside the checkout, which is absent here",
)


def sample(version: str, name: str) -> Path:
    """The file ``profile``, ``layers`` or ``times`` of one version."""
    return FOLDER / version / f"{name}.json"
