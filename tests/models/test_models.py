"""What holds of every network of the table."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcomp import models
from onnxcomp.errors import ModelError
from onnxcomp.model import to_proto
from onnxcomp.report.size import count_parameters
from tests import run

# torchvision's own counts for 1000 classes.
TORCHVISION = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "densenet121": 7_978_856,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "densenet161": 28_681_000,
}
VGGS = {
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
}
OTHERS = {"densenet-bc-40-12", "lenet5", "alexnet", "mobilenet_v2", "vit_b_16", "vit_tiny"}
# These hold hundreds of megabytes: narrow ones stand for them in their own tests.
LARGE = {(name, "imagenet") for name in (*VGGS, "alexnet", "vit_b_16")} | {("alexnet", "cifar")}
FORMS = [
    (name, stem) for name, load in models.NAMES.items() for stem in load().stems if (name, stem) not in LARGE
]


@pytest.mark.parametrize("name", TORCHVISION)
def test_parameter_count_is_torchvisions(name: str) -> None:
    assert count_parameters(models.build(name, input_size=32)).total == TORCHVISION[name]


@pytest.mark.parametrize("name", VGGS)
def test_vgg_parameter_count_is_torchvisions_but_for_the_classifier(name: str) -> None:
    """The cifar form's one Linear of 512 stands for three: 512 * 7 * 7 to 4096 to 4096 to 1000."""
    classifier = (512 * 49 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000
    found = count_parameters(models.build(name, stem="cifar")).total
    assert found - 513 * 1000 + classifier == VGGS[name]


def test_the_table_names_the_families() -> None:
    assert set(models.NAMES) == {*TORCHVISION, *VGGS, *OTHERS}


@pytest.mark.parametrize(("name", "stem"), FORMS)
def test_is_valid_onnx_at_its_smallest_input(name: str, stem: str) -> None:
    size = models.NAMES[name]().smallest_input(stem)
    proto = to_proto(models.build(name, num_classes=3, input_size=size, stem=stem))
    onnx.checker.check_model(proto, full_check=True)
    assert proto.ir_version == 8
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 17)]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("densenet121", "imagenet"),
        ("densenet-bc-40-12", "cifar"),
        ("resnet18", "imagenet"),
        ("resnet50", "cifar"),
        ("vgg11", "cifar"),
        ("vgg16_bn", "cifar"),
        ("lenet5", "cifar"),
        ("mobilenet_v2", "imagenet"),
    ],
)
def test_interface_and_answers(name: str, stem: str) -> None:
    model = models.build(name, num_classes=7, input_size=40, stem=stem)
    assert (model.image.name, model.image.shape) == ("input", ["N", 3, 40, 40])
    assert (model.logits.name, model.logits.shape) == ("logits", ["N", 7])
    assert (model.batch, model.image_shape, model.num_classes) == (None, (3, 40, 40), 7)
    images = run.images(model, 3)
    logits = run.logits(model, images)
    assert logits.shape == (3, 7)
    assert np.isfinite(logits).all()
    # The batch is free, and images do not mix.
    np.testing.assert_allclose(run.logits(model, images[1:2]), logits[1:2], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "stem"), FORMS)
def test_only_standard_operators_named_uniquely(name: str, stem: str) -> None:
    graph = models.build(name, num_classes=2, input_size=32, stem=stem).graph
    assert {node.op for node in graph.nodes} <= {
        "Conv", "BatchNormalization", "Relu", "MaxPool", "AveragePool", "Concat", "GlobalAveragePool",
        "Flatten", "Gemm", "Add", "Clip",
        *("LayerNormalization", "MatMul", "Softmax", "Split", "Reshape", "Transpose", "Mul", "Div", "Erf"),
        *("Gather", "Shape", "Expand"),
    }  # fmt: skip
    names = [node.name for node in graph.nodes]
    assert len(names) == len(set(names))


def test_the_same_seed_gives_the_same_weights() -> None:
    first, again, other = (
        {name: c.values for name, c in models.build("densenet-bc-40-12", seed=seed).constants().items()}
        for seed in (5, 5, 6)
    )
    assert first.keys() == again.keys() == other.keys()
    assert all(np.array_equal(first[name], again[name]) for name in first)
    drawn = [name for name in first if "norm" not in name and not name.endswith("bias")]
    assert len(drawn) == 1 + 3 * 6 * 2 + 2 + 1
    assert not any(np.array_equal(first[name], other[name]) for name in drawn)


@pytest.mark.parametrize(
    ("name", "stem", "size"),
    [("densenet121", "imagenet", 224), ("densenet121", "cifar", 32), ("densenet-bc-40-12", None, 32)],
)
def test_default_input_size(name: str, stem: str | None, size: int) -> None:
    assert models.build(name, num_classes=2, stem=stem).image_shape == (3, size, size)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("densenet201x", {}, "there is no network 'densenet201x'; did you mean densenet201?"),
        ("inception", {}, f"there is no network 'inception'; choose from {', '.join(models.NAMES)}"),
        ("vgg11bn", {}, "there is no network 'vgg11bn'; did you mean vgg11_bn?"),
        (
            "vgg11",
            {"input_size": 31},
            "vgg11: an input of 31x31 is too small (stem imagenet); use an input size of at least 32",
        ),
        ("densenet121", {"stem": "cifr"}, "there is no stem 'cifr'; did you mean cifar?"),
        (
            "densenet121",
            {"input_size": 28},
            "densenet121: an input of 28x28 is too small (stem imagenet); use an input size of at least 29",
        ),
        (
            "densenet121",
            {"input_size": 7, "stem": "cifar"},
            "densenet121: an input of 7x7 is too small (stem cifar); use an input size of at least 8",
        ),
        (
            "densenet-bc-40-12",
            {"input_size": -4},
            "densenet-bc-40-12: an input of -4x-4 is too small (stem cifar); use an input size of at least 4",
        ),
        ("densenet121", {"input_size": 10**9}, "the input size is 1000000000; choose from 29 to 8192"),
        ("densenet121", {"num_classes": 0}, "the number of classes is 0; choose from 1 to 100000"),
        (
            "densenet121",
            {"num_classes": 10**9},
            "the number of classes is 1000000000; choose from 1 to 100000",
        ),
        ("densenet121", {"seed": -1}, "the seed is -1; choose from 0 to 9223372036854775807"),
    ],
)
def test_refusals(name: str, options: dict, message: str) -> None:
    with pytest.raises(ModelError) as refusal:
        models.build(name, **options)
    assert str(refusal.value) == message
