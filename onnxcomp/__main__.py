"""The program: ``onnxcomp``, or ``python -m onnxcomp``."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit; Ctrl-C while it is loaded is one line too."""
    try:
        from onnxcomp import cli
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted\n")
        sys.exit(130)
    cli.main()


if __name__ == "__main__":
    main()
