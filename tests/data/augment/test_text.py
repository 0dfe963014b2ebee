from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.data.augment import NAMES, Augmentation, parse
from onnxcomp.data.augment.basic import Crop, Cutout, Flip
from onnxcomp.data.augment.policy import KINDS, Policy
from onnxcomp.data.augment.randaugment import RandAugment
from onnxcomp.data.augment.resized_crop import ResizedCrop
from onnxcomp.errors import DataError

stages = st.one_of(
    st.sampled_from([Crop(), Flip(), *map(Policy, KINDS)]),
    st.builds(Cutout, st.none() | st.integers(1, 500)),
    st.builds(RandAugment, st.integers(1, 14), st.integers(0, 30)),
    st.builds(ResizedCrop, st.floats(0.001, 1)),
)


@given(st.lists(stages, max_size=5))
def test_the_text_form_is_read_back(chosen):
    augmentation = Augmentation(tuple(chosen))
    assert parse(str(augmentation)) == augmentation
    assert str(parse(str(augmentation))) == str(augmentation)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_stands_by_itself(name):
    text = {"standard": "crop,flip"}.get(name, name)
    assert str(parse(name)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", ()),
        ("standard", (Crop(), Flip())),
        ("standard,cutout", (Crop(), Flip(), Cutout())),
        (
            " crop , flip,randaugment{ n=3  m=5 } ,cutout{size=8}",
            (Crop(), Flip(), RandAugment(3, 5), Cutout(8)),
        ),
        (
            "resized-crop{scale=0.5},fast-autoaugment-imagenet",
            (ResizedCrop(0.5), Policy("fast-autoaugment-imagenet")),
        ),
        ("randaugment{}", (RandAugment(),)),
    ],
)
def test_what_a_text_means(text, expected):
    assert parse(text).stages == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "augmentation: a name is expected at column 1, before 'the end'; write it as crop,flip,"),
        ("crop,", "a name is expected at column 6"),
        ("crop;flip", "a name is expected at column 1, before 'crop;flip'"),
        ("crop,,flip", "a name is expected at column 6, before ',flip'"),
        ("randaugment{n=2", "a name is expected at column 1, before 'randaugment{'"),
        ("crop flip", "a name is expected at column 1"),
        ("cutuot", "there is no augmentation cutuot; did you mean cutout?"),
        ("AutoAugment-CIFAR10", "did you mean autoaugment-cifar10?"),
        ("xyz", "there is no augmentation xyz; choose of none, standard, crop, resized-crop, flip"),
        ("cutout{sizes=4}", "cutout: unknown option sizes; did you mean size?"),
        ("crop{pad=4}", "crop: unknown option pad; it takes none"),
        ("randaugment{m=40}", "randaugment: m is 40, not a whole number from 0 to 30"),
        ("randaugment{m=high}", "randaugment: m is 'high', not a whole number"),
        ("randaugment{2 9}", "randaugment: cannot read '2 9'; write name=value"),
        ("autoaugment-cifar10{name=x}", "autoaugment-cifar10: unknown option name"),
        ("none{n=1}", "none: takes no options"),
    ],
)
def test_a_text_that_means_nothing(text, message):
    with pytest.raises(DataError) as caught:
        parse(text)
    assert message in str(caught.value)
