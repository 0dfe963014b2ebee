"""Large files that lie beside the checkout on some machines and are in no repository."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="needs the folder shared/ beside the checkout, which is absent here"
)
