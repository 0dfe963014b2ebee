from __future__ import annotations

import pytest

from onnxcomp import cli
from onnxcomp.completion import shells
from tests.commands.call import call


@pytest.mark.parametrize("shell", shells.SHELLS)
def test_prints_the_script(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert call(capsys, "completion", shell) == (0, shells.script(shell, cli.cli), "")


def test_an_unknown_shell_is_an_error_that_names_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "completion", "tcsh")
    assert (code, out) == (2, "")
    assert all(shell in err for shell in shells.SHELLS)
