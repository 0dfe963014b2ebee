"""The commands in the order of the road that a network takes, and what to say to someone at its start."""

from __future__ import annotations

ROAD = {
    "Begin here": ("demo",),
    "Make a network": ("export",),
    "Compress it": ("compress", "apply", "train", "finalize", "sensitivity"),
    "Check it": ("evaluate", "validate", "bisect"),
    "Deploy it": ("targets", "lint", "estimate", "build", "profile"),
    "Look at it": ("report", "inspect", "view"),
    "Your shell": ("completion",),
}
"""Commands by what they are for; each is a module of :mod:`onnxcomp.commands`."""

WELCOME = """\
onnxcomp makes an ONNX image classifier smaller and faster, and proves that it still answers right.

See all of it on a small network, in minutes and without a download:
  onnxcomp demo

Or begin with a file of your own, or with a network of onnxcomp's:
  onnxcomp inspect m.onnx
  onnxcomp export resnet18 -o m.onnx --num-classes 10 --input-size 32

Prune it, quantise it, train it and write the file for a Jetson AGX Xavier:
  onnxcomp compress prune,qat,distill m.onnx --data cifar10 --target xavier --epochs 2 --run-dir runs/a

Help: onnxcomp --help lists the commands, onnxcomp COMMAND --help explains one and gives an example.
"""
