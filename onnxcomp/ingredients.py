"""``compressed.json``: of what a run's compression form was made, so that it is not taken for another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onnxcomp import files
from onnxcomp.data import DataSet
from onnxcomp.deploy.targets import Target
from onnxcomp.errors import TrainingError
from onnxcomp.fingerprint import fingerprint
from onnxcomp.model import Model
from onnxcomp.passes.distill import Distill
from onnxcomp.recipe import Recipe
from onnxcomp.training.identity import describe

NAME = "compressed.json"


@dataclass(frozen=True)
class Ingredients:
    """What decides the compression form.

    Attributes:
        network: digest of the network that was given.
        teachers: digest of each teacher's file by its path; of those that are there.
        settings: what else, in words.
    """

    network: str
    teachers: Mapping[str, str]
    settings: Mapping[str, str]

    @classmethod
    def of(cls, model: Model, recipe: Recipe, data: DataSet, target: Target, images: int) -> Ingredients:
        """Those of a run that is asked for.

        Args:
            images: that passes look at.
        """
        found = recipe.find("distill")
        paths = [Path(name) for name in found.teacher] if isinstance(found, Distill) else []
        return cls(
            fingerprint(model),
            {str(path): files.sha256(path) for path in paths if path.is_file()},
            {
                "recipe": str(recipe),
                "data": describe(data),
                "calibration images": str(images),
                "placement of": target.placement,
                "multiple of channels": str(target.alignment),
            },
        )

    def write(self, folder: Path) -> None:
        """Leave them in the run directory."""
        content = {"network": self.network, "teachers": self.teachers, "settings": self.settings}
        with files.atomic_path(folder / NAME) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def check(self, folder: Path) -> None:
        """Whether the run directory's compression form is of these.

        A teacher whose file is gone is not asked for: it is inside the compression form.

        Raises:
            TrainingError: it is of others; names the first difference.
        """
        path = folder / NAME
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            network, teachers, settings = (dict(found)[name] for name in ("network", "teachers", "settings"))
            differences = [
                *(["another network"] if network != self.network else []),
                *(
                    f"another teacher {name}"
                    for name, digest in self.teachers.items()
                    if digest != teachers.get(name)
                ),
                *(
                    f"the {name} {settings.get(name)}, not {now}"
                    for name, now in self.settings.items()
                    if now != settings.get(name)
                ),
            ]
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            fix = "choose another --run-dir"
            raise TrainingError("is missing or damaged", where=str(path), fix=fix) from error
        if differences:
            raise TrainingError(
                f"the run was begun with {differences[0]}",
                where=str(folder),
                fix="give what it was begun with, or choose another --run-dir",
            )
