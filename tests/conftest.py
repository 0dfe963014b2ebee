"""One thread for every numeric library, so that timings and results do not hang on the machine's cores."""

from __future__ import annotations

import os
import signal

# Read when the library is first loaded, hence here and not in a fixture; children inherit it.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

# Where the tests run in a script's background Ctrl-C is ignored, here and in the children that hear it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
