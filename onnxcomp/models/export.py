"""Write a network of :data:`onnxcomp.models.NAMES` as a file, with everything that travels with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnxcomp import files, models
from onnxcomp.errors import ModelError
from onnxcomp.fold_bn import fold_bn
from onnxcomp.model import Preprocessing, save
from onnxcomp.models.weights import load_weights
from onnxcomp.preprocess import PREPROCESSING, check_channels, parse_classes, parse_preprocessing
from onnxcomp.report.size import count_parameters


@dataclass(frozen=True)
class Summary:
    """What was written.

    Attributes:
        name: the network's.
        output: the file.
        stem: ``imagenet`` or ``cifar``.
        num_classes: number of logits.
        input_size: height and width of the image, in pixels.
        parameters: trained numbers; running statistics are not counted.
        folded: BatchNormalizations that are folded into the convolution before them.
        bytes: size of the file.
        weights: the file that the weights come from, or None for random ones.
        seed: of the random weights, or None.
        preprocessing: how an image becomes the input.
        classes: class names; empty where none were given.
    """

    name: str
    output: str
    stem: str
    num_classes: int
    input_size: int
    parameters: int
    folded: int
    bytes: int
    weights: str | None
    seed: int | None
    preprocessing: Preprocessing
    classes: tuple[str, ...]


def export(
    name: str,
    output: Path,
    *,
    num_classes: int | None = None,
    input_size: int | None = None,
    stem: str | None = None,
    weights: Path | None = None,
    seed: int = 0,
    preprocess: str | None = None,
    classes: str | None = None,
    fold: bool = False,
) -> Summary:
    """Build a network and write it to ``output``.

    Args:
        name, input_size, stem, seed: as for :func:`onnxcomp.models.build`.
        num_classes: None for as many as there are ``classes``, or 1000.
        weights: as for :func:`onnxcomp.models.weights.load_weights`; None for random ones.
        preprocess: as for :func:`onnxcomp.preprocess.parse_preprocessing`; None for the one of the
            data set that the stem was made for.
        classes: as for :func:`onnxcomp.preprocess.parse_classes`; None for no names.
        fold: fold each BatchNormalization that directly follows a convolution into it, as exporters of
            networks in inference form do. The answers stay; the network trains without it.

    Raises:
        ModelError: an argument out of range, or weights of another network.
        OnnxcompError: ``output`` cannot be written.
    """
    files.check_writable(output)
    if weights is not None and weights.resolve() == output.resolve():
        raise ModelError("would overwrite the weights", where=str(output), fix="choose another output")
    stem = stem or models.default_stem(name)
    class_names = parse_classes(classes) if classes is not None else ()
    num_classes = num_classes if num_classes is not None else len(class_names) or 1000
    if class_names and len(class_names) != num_classes:
        raise ModelError(
            f"{len(class_names)} class names for {num_classes} classes", fix="give one name for each class"
        )
    preprocessing = parse_preprocessing(preprocess) if preprocess else _made_for(stem)
    model = models.build(name, num_classes=num_classes, input_size=input_size, stem=stem, seed=seed)
    check_channels(preprocessing, model)
    if weights is not None:
        load_weights(model, weights)
    folded = fold_bn(model.graph).folded if fold else ()
    model.preprocessing = preprocessing
    model.classes = class_names
    save(model, output)
    return Summary(
        name=name,
        output=str(output),
        stem=stem,
        num_classes=num_classes,
        input_size=model.image_shape[1],
        parameters=count_parameters(model).total,
        folded=len(folded),
        bytes=output.stat().st_size,
        weights=None if weights is None else str(weights),
        seed=seed if weights is None else None,
        preprocessing=preprocessing,
        classes=class_names,
    )


def _made_for(stem: str) -> Preprocessing:
    return PREPROCESSING["cifar10" if stem == "cifar" else "imagenet"]
