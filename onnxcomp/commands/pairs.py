"""Two networks and the data that they are held against each other on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onnxcomp.commands import options

if TYPE_CHECKING:
    from onnxcomp.data import DataSet
    from onnxcomp.model import Model


def load(
    reference_path: Path, candidate_path: Path, data: str, preprocess: str | None
) -> tuple[Model, Model, DataSet]:
    """Read both, and the data set.

    A file that does not say how its images are normalised takes what the other one says.

    Raises:
        OnnxcompError: one of them cannot be read, or they do not fit together or the data.
    """
    from onnxcomp import model as models
    from onnxcomp.data import open_data
    from onnxcomp.parity.compare import check_interfaces
    from onnxcomp.report import console

    with console.working("reading"):
        reference, candidate = models.load(reference_path), models.load(candidate_path)
        check_interfaces(reference, candidate)
        data_set = open_data(data)
    for model, other in ((reference, candidate), (candidate, reference)):
        options.set_preprocessing(model, preprocess)
        # Rather than what the data suggest.
        model.preprocessing = model.preprocessing or other.preprocessing
    options.fit_to_data(reference, data_set, reference_path)
    options.fit_to_data(candidate, data_set, candidate_path)
    return reference, candidate, data_set
