"""One thread for every numeric library, so that timings and results do not hang on the machine's cores."""

from __future__ import annotations

import os

# Read when the library is first loaded, hence here and not in a fixture; children inherit it.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
