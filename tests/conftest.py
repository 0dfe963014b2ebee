"""What no test is to depend on: the machine's cores, its terminal, what runs before left in the cache."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

from tests.browser import browser, visit  # noqa: F401  fixtures of tests that open a page
from tests.made import made  # noqa: F401  fixture of tests that look at a run

# One thread for every numeric library. Read when the library is first loaded, hence here and not in a
# fixture; children inherit it.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

# What decides how text is printed: a CI server sets some of it, a developer's shell others.
for variable in ("CI", "COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(variable, None)
os.environ["TERM"] = "xterm"

# Hypothesis calls a test that once took over 200 ms flaky: on a busy machine any of them may.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# Where the tests run in a script's background Ctrl-C is ignored, here and in the children that hear it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let commands find an empty folder where the user's cache would be."""
    monkeypatch.setattr("onnxcomp.kept.default_root", lambda kind: tmp_path_factory.mktemp("cache") / kind)
