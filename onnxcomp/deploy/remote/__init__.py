"""A device reached over OpenSSH: commands, files and long jobs, with nothing installed there."""

from onnxcomp.deploy.remote.device import RemoteMachine, connect

__all__ = ["RemoteMachine", "connect"]
