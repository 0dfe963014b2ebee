"""Named augmentations of training images, composed as text.

Each image's random numbers come from the seed, the epoch and its position in the epoch alone. As
published, AutoAugment (Cubuk et al., 2019) follows crop and flip and comes before cutout:
``crop,flip,autoaugment-cifar10,cutout``.
"""

from __future__ import annotations

from onnxcomp.data.augment.augmentation import Augmentation
from onnxcomp.data.augment.draws import uniforms
from onnxcomp.data.augment.text import NAMES, parse

__all__ = ["NAMES", "Augmentation", "parse", "uniforms"]
