"""Engines: built by TensorRT on a machine, measured and run there."""
