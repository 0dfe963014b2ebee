"""Call the command line as a shell would, in this process."""

from __future__ import annotations

import pytest

from onnxcomp import cli


def call(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``onnxcomp args``."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        cli.main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    assert isinstance(end.value.code, int)
    return end.value.code, out, err
