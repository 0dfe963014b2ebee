"""Tests of onnxcomp.preprocess: what a data set says about a network."""

from __future__ import annotations

import pytest

from onnxcomp.data import DataSet, ImageSet
from onnxcomp.errors import DataError
from onnxcomp.model import Model, Preprocessing, from_proto
from onnxcomp.preprocess import ensure_preprocessing
from tests import zoo
from tests.training.fake import colours

NAMES = ("red", "green", "blue")


def network(channels: int = 3, classes: tuple[str, ...] = ()) -> Model:
    model = from_proto(zoo.mlp(size=4, classes=3, channels=channels))
    model.classes = classes
    return model


def test_the_data_says_what_the_network_does_not() -> None:
    model = network()
    ensure_preprocessing(model, colours())
    assert model.classes == NAMES
    assert model.preprocessing == Preprocessing((80.0,) * 3, (50.0,) * 3)


def test_what_the_network_says_stays() -> None:
    model = network(classes=NAMES)
    model.preprocessing = own = Preprocessing((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    ensure_preprocessing(model, colours())
    assert (model.preprocessing, model.classes) == (own, NAMES)


def test_a_grey_network_gets_one_mean_and_one_deviation() -> None:
    model = network(channels=1)
    ensure_preprocessing(model, colours())
    assert model.preprocessing is not None
    # The luma weights add up to 1 within float32.
    assert model.preprocessing.mean == pytest.approx((80.0,), rel=1e-6)
    assert model.preprocessing.std == pytest.approx((50.0,), rel=1e-6)


def test_another_number_of_classes_is_refused() -> None:
    with pytest.raises(DataError, match="data colours: has 2 classes, the network 3"):
        ensure_preprocessing(network(), colours(("a", "b")))


@pytest.mark.parametrize(
    ("classes", "difference"),
    [
        (("red", "blue", "green"), ": class 1 is green, the network's is blue;"),
        (("red", "green", "violet"), ": class 2 is blue, the network's is violet;"),
        (("red", "green"), "the network's; name and order"),
        ((*NAMES, "black"), "the network's; name and order"),
    ],
)
def test_other_names_or_another_order_are_refused(classes: tuple[str, ...], difference: str) -> None:
    model = network(classes=classes)
    with pytest.raises(DataError, match="its class names are not the network's") as refused:
        ensure_preprocessing(model, colours())
    assert difference in str(refused.value)
    assert model.preprocessing is None


def test_computing_statistics_is_left_out_where_they_are_not_needed() -> None:
    class Broken:
        def __len__(self) -> int:
            return 64

        def image(self, index: int) -> None:
            raise AssertionError("an image was read")

    data = colours()
    unread = ImageSet(Broken(), data.train.labels, data.classes)  # type: ignore[arg-type]
    model = network()
    model.preprocessing = Preprocessing((0.0,) * 3, (1.0,) * 3)
    ensure_preprocessing(model, DataSet("unread", unread, unread))
    assert model.classes == NAMES
