"""Run onnxcomp from a checkout: ``python cli.py --help`` is ``onnxcomp --help``."""

from onnxcomp.cli import main

if __name__ == "__main__":
    main()
