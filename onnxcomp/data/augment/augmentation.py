"""An augmentation: stages in the order in which they are applied."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onnxcomp.data.augment.resized_crop import ResizedCrop
from onnxcomp.data.augment.stage import Draws, Images, Setting, Stage

if TYPE_CHECKING:
    from onnxcomp.data.dataset import ImageSet

NONE = "none"


@dataclass(frozen=True)
class Augmentation:
    """Stages, in order; none leaves the images as they are. Its text form is what ``parse`` reads."""

    stages: tuple[Stage, ...] = ()

    def __str__(self) -> str:
        return ",".join(_text(stage) for stage in self.stages) or NONE

    @property
    def draws(self) -> int:
        """Random numbers that it takes for each image."""
        return sum(stage.draws for stage in self.stages)

    def load(
        self,
        images: ImageSet,
        chosen: NDArray[np.int64],
        size: tuple[int, int],
        draws: Draws,
        mean: tuple[float, ...],
    ) -> Images:
        """Load images of a set and augment them.

        Args:
            chosen: B positions in the set.
            size: (H, W).
            draws: float64 of shape (B, ``self.draws``), of [0, 1).
            mean: what becomes zero in the network's input, 0..255, one value or three.

        Returns:
            uint8 of shape (B, H, W, 3).

        Raises:
            DataError: a broken image; names the file.
        """
        setting = Setting(_colour(mean), images.flip)
        stages = self.stages
        if stages and isinstance(stages[0], ResizedCrop):
            loaded = np.empty((len(chosen), *size, 3), np.uint8)
            for result, index, row in zip(loaded, chosen, draws[:, : stages[0].draws], strict=True):
                result[:] = stages[0].cut(images.source.image(int(index)), size, row)
            stages, draws = stages[1:], draws[:, stages[0].draws :]
        else:
            loaded = images.load(chosen, size)
        for stage in stages:
            loaded = stage.apply(loaded, draws[:, : stage.draws], setting)
            draws = draws[:, stage.draws :]
        return loaded


def _colour(mean: tuple[float, ...]) -> tuple[int, int, int]:
    red, green, blue = np.broadcast_to(np.rint(mean).clip(0, 255).astype(int), 3).tolist()
    return red, green, blue


def _text(stage: Stage) -> str:
    changed = [
        f"{field.name}={json.dumps(getattr(stage, field.name))}"
        for field in fields(stage)  # type: ignore[arg-type]  # stages are dataclasses
        if field.name != "name" and getattr(stage, field.name) != field.default
    ]
    return f"{stage.name}{{{' '.join(changed)}}}" if changed else stage.name
