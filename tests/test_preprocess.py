"""Preprocessing and class names as text."""

from __future__ import annotations

import pytest

from onnxcomp.data.cifar import CLASSES
from onnxcomp.errors import ModelError
from onnxcomp.model import Preprocessing, from_proto
from onnxcomp.preprocess import check_channels, parse_classes, parse_preprocessing
from tests import zoo


@pytest.mark.parametrize(
    ("text", "mean", "std"),
    [
        ("cifar10", (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)),
        # torchvision's, times 255
        ("imagenet", (255 * 0.485, 255 * 0.456, 255 * 0.406), (255 * 0.229, 255 * 0.224, 255 * 0.225)),
        (" CIFAR10 ", (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)),
        ("1,2.5,-3/4,5e1,6", (1, 2.5, -3), (4, 50, 6)),
        ("127.5/64", (127.5,), (64,)),
    ],
)
def test_preprocessing(text: str, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    found = parse_preprocessing(text)
    assert found.mean == pytest.approx(mean, abs=1e-9)
    assert found.std == pytest.approx(std, abs=1e-9)
    assert isinstance(found, Preprocessing)
    assert all(type(number) is float for number in (*found.mean, *found.std))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a name or mean/deviation"),
        ("1,2,3", "not a name or mean/deviation"),
        ("1/2/3", "not a name or mean/deviation"),
        ("1,2,x/1,2,3", "not a name or mean/deviation"),
        ("1,2/1,2", "2 means and 2 deviations"),
        ("1,2,3/1", "3 means and 1 deviations"),
        ("1,2,3/1,0,1", "the numbers must be finite and the deviations positive, from 1e-06 to 1e+06"),
        ("1,2,3/1,-2,1", "the numbers must be finite and the deviations positive, from 1e-06 to 1e+06"),
        ("1,nan,3/1,2,1", "the numbers must be finite and the deviations positive, from 1e-06 to 1e+06"),
        ("1,2,3/1,inf,1", "the numbers must be finite and the deviations positive, from 1e-06 to 1e+06"),
        ("1,2,3/1,1e-38,1", "the numbers must be finite and the deviations positive, from 1e-06 to 1e+06"),
        ("1,1e39,3/1,2,1", "the numbers must be finite and the deviations positive, from 1e-06 to 1e+06"),
    ],
)
def test_refused_preprocessing(text: str, reason: str) -> None:
    with pytest.raises(ModelError) as refusal:
        parse_preprocessing(text)
    assert str(refusal.value) == (
        f"{text!r} is no preprocessing: {reason};"
        " use cifar10, imagenet or, in units of 0..255, for example 125.3,123,113.9/63,62.1,66.7"
    )


def test_a_preprocessing_of_a_like_name() -> None:
    with pytest.raises(ModelError, match=r"not a name or mean/deviation; did you mean cifar10\?$"):
        parse_preprocessing("cifr10")


def test_classes() -> None:
    assert parse_classes("cifar10") == CLASSES == tuple(sorted(CLASSES))
    assert len(CLASSES) == 10
    assert parse_classes("cat, big dog ,0") == ("cat", "big dog", "0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat,,dog", "class 1 of 'cat,,dog' has no name; write cat,dog,..."),
        ("", "class 0 of '' has no name; write cat,dog,..."),
        ("cat,dog,cat", "the class 'cat' comes twice; name each class once"),
    ],
)
def test_refused_classes(text: str, message: str) -> None:
    with pytest.raises(ModelError) as refusal:
        parse_classes(text)
    assert str(refusal.value) == message


def test_channels_are_the_networks() -> None:
    grey = from_proto(zoo.mlp(channels=1))
    check_channels(parse_preprocessing("127/64"), grey)
    with pytest.raises(ModelError, match="the preprocessing has 3 channels, the network 1; give a mean"):
        check_channels(parse_preprocessing("cifar10"), grey)
