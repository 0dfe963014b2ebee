from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest

from onnxcomp import memory

MIB = 2**20


def resident() -> int:
    """Bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can give memory back")
def test_freed_memory_goes_back_to_the_system() -> None:
    arrays = [np.ones(8 * 1024, np.float32) for _ in range(3000)]  # 94 MiB of small pieces
    last = arrays[-1]
    del arrays
    before = resident()
    memory.release()
    assert before - resident() > 40 * MIB
    assert last.all()


def test_it_can_be_called_at_any_time() -> None:
    memory.release()
    memory.release()
