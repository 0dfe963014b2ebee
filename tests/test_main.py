"""The program from its first line on."""

from __future__ import annotations

import subprocess
import sys

from onnxcomp import __version__
from tests.project import ROOT, python

PRESSED = """
import sys

class Pressed:
    def find_spec(self, name, *rest):
        if name == "click":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Pressed())
from onnxcomp.__main__ import main
main()
"""


def test_it_is_a_module_too() -> None:
    command = [sys.executable, "-m", "onnxcomp", "--version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert __version__ in done.stdout


def test_ctrl_c_while_it_is_loaded_is_one_line() -> None:
    done = python(PRESSED)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted\n")
