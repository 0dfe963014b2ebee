"""How an image becomes a network's input, and what its classes are called: from text or from a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxcomp.errors import DataError, ModelError
from onnxcomp.model import Model, Preprocessing
from onnxcomp.nearest import meant

if TYPE_CHECKING:
    from onnxcomp.data import DataSet

# In units of 0..255. CIFAR-10's is the usual one of its training images; ImageNet's is
# torchvision's, which is given in units of 0..1.
PREPROCESSING = {
    "cifar10": Preprocessing((125.3, 123.0, 113.9), (63.0, 62.1, 66.7)),
    "imagenet": Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}


LARGEST = 1e6
"""Of means, deviations and their inverses; far more, and images overflow float32."""
REACH = f"from {1 / LARGEST:g} to {LARGEST:g}"


def parse_preprocessing(text: str) -> Preprocessing:
    """Read a name of :data:`PREPROCESSING`, or ``mean,mean,mean/std,std,std`` in units of 0..255.

    Raises:
        ModelError: neither, or a deviation that is not positive.
    """
    named = PREPROCESSING.get(text.strip().lower())
    if named is not None:
        return named
    parts = text.split("/")
    try:
        mean, std = (tuple(float(number) for number in part.split(",")) for part in parts)
    except ValueError as error:
        raise _refusal(text, "not a name or mean/deviation") from error
    if len(mean) != len(std) or len(mean) not in (1, 3):
        raise _refusal(text, f"{len(mean)} means and {len(std)} deviations")
    if not all(abs(number) <= LARGEST for number in (*mean, *std)) or min(std) < 1 / LARGEST:
        raise _refusal(text, f"the numbers must be finite and the deviations positive, {REACH}")
    return Preprocessing(mean, std)


def check_channels(preprocessing: Preprocessing, model: Model) -> None:
    """Refuse means and deviations for another number of channels than the network's.

    Raises:
        ModelError: otherwise.
    """
    given, channels = len(preprocessing.mean), model.image_shape[0]
    if given != channels:
        raise ModelError(
            f"the preprocessing has {given} channels, the network {channels}",
            fix="give a mean and a deviation for each channel",
        )


def _refusal(text: str, reason: str) -> ModelError:
    names = ", ".join(PREPROCESSING)
    usual = f"use {names} or, in units of 0..255, for example 125.3,123,113.9/63,62.1,66.7"
    return ModelError(f"{text!r} is no preprocessing: {reason}", fix=meant(text, PREPROCESSING, usual))


def parse_classes(text: str) -> tuple[str, ...]:
    """Read ``cifar10``, or class names in the order of the logits, with commas between.

    Raises:
        ModelError: an empty name, or one that comes twice.
    """
    if text.strip().lower() == "cifar10":
        from onnxcomp.data.cifar import CLASSES

        return CLASSES
    classes = tuple(name.strip() for name in text.split(","))
    for index, name in enumerate(classes):
        if not name:
            raise ModelError(f"class {index} of {text!r} has no name", fix="write cat,dog,...")
        if name in classes[:index]:
            raise ModelError(f"the class {name!r} comes twice", fix="name each class once")
    return classes


def ensure_preprocessing(model: Model, data: DataSet) -> None:
    """Let ``data`` say what ``model`` does not: mean, deviation and class names; in place.

    Raises:
        DataError: the classes are not the network's, by number, name or order.
    """
    where = f"data {data.name}"
    if len(data.classes) != model.num_classes:
        raise DataError(
            f"has {len(data.classes)} classes, the network {model.num_classes}",
            where=where,
            fix="give the network's data, or a network for these classes",
        )
    if model.classes and model.classes != data.classes:
        pairs = enumerate(zip(data.classes, model.classes, strict=False))
        differing = (f": class {i} is {own}, the network's is {its}" for i, (own, its) in pairs if own != its)
        raise DataError(
            f"its class names are not the network's{next(differing, '')}",
            where=where,
            fix="name and order the classes as the network does (in an .npz, with the array classes)",
        )
    model.classes = data.classes
    if model.preprocessing is None:
        model.preprocessing = _of_channels(data.mean, data.std, model.image_shape[0])


def _of_channels(mean: tuple[float, ...], std: tuple[float, ...], channels: int) -> Preprocessing:
    """For a network of grey images: mean and deviation of the luma, exact where the images are grey."""
    if channels == 3:
        return Preprocessing(mean, std)
    from onnxcomp.data.transforms import LUMA

    weights = [float(weight) for weight in LUMA]
    return Preprocessing(
        (sum(w * value for w, value in zip(weights, mean, strict=True)),),
        (sum(w * value for w, value in zip(weights, std, strict=True)),),
    )
