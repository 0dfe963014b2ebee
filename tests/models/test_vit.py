"""ViT's structure and names, and its answers beside PyTorch's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from onnxcomp import macs, models, pipeline
from onnxcomp.errors import ModelError
from onnxcomp.model import from_proto
from onnxcomp.models.vit import ViT
from onnxcomp.models.weights import load_weights
from onnxcomp.report.size import count_parameters
from tests import run
from tests.models import twin
from tests.training import networks

IMAGENET: dict[str, Any] = {"num_classes": 1000, "input_size": 224, "stem": "imagenet", "seed": 0}
SMALL = ViT(patch_size=4, num_layers=3, num_heads=4, hidden_dim=32, mlp_dim=48, stem="cifar")


def module(torch: Any, patches: int) -> Any:
    nn, width = torch.nn, SMALL.hidden_dim

    class Layer(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.ln_1, self.ln_2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
            self.self_attention = nn.MultiheadAttention(width, SMALL.num_heads, batch_first=True)
            layers = nn.Linear(width, SMALL.mlp_dim), nn.GELU(), nn.Dropout(), nn.Linear(SMALL.mlp_dim, width)
            self.mlp = nn.Sequential(*layers)

        def forward(self, x: Any) -> Any:
            y = self.ln_1(x)
            x = x + self.self_attention(y, y, y, need_weights=False)[0]
            return x + self.mlp(self.ln_2(x))

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv_proj = nn.Conv2d(3, width, SMALL.patch_size, stride=SMALL.patch_size)
            self.class_token = nn.Parameter(torch.zeros(1, 1, width))
            self.encoder, self.heads = nn.Module(), nn.Module()
            self.encoder.pos_embedding = nn.Parameter(torch.zeros(1, patches + 1, width))
            layers = {f"encoder_layer_{index}": Layer() for index in range(SMALL.num_layers)}
            self.encoder.layers, self.encoder.ln = nn.ModuleDict(layers), nn.LayerNorm(width, eps=1e-6)
            self.heads.head = nn.Linear(width, twin.CLASSES)

        def forward(self, images: Any) -> Any:
            x = self.conv_proj(images).flatten(2).mT
            x = torch.cat([self.class_token.repeat(len(x), 1, 1), x], 1) + self.encoder.pos_embedding
            for layer in self.encoder.layers.values():
                x = layer(x)
            return self.heads.head(self.encoder.ln(x)[:, 0])

    return Net()


def test_parameters_and_work_are_torchvisions() -> None:
    """Published: 86,567,656 parameters, 17.56 GFLOPS, of which the products of activations are 0.72.

    All layers are of one size: twelve are worked out from one and two.
    """
    built = [from_proto(ViT(num_layers=count).proto("vit", **IMAGENET)) for count in (1, 2)]
    parameters = [count_parameters(model).total for model in built]
    assert parameters[0] + 11 * (parameters[1] - parameters[0]) == 86_567_656
    work = [macs.total(model.graph) or 0 for model in built]
    attention = 2 * 197 * 197 * 768
    assert round((work[0] + 11 * (work[1] - work[0]) + 12 * attention) / 1e9, 2) == 17.56
    assert ViT().num_layers == 12
    constants = built[1].constants()
    layer = "encoder.layers.encoder_layer_1"
    for name, shape in {
        "class_token": (1, 1, 768),
        "conv_proj.weight": (768, 3, 16, 16),
        "encoder.pos_embedding": (1, 197, 768),
        f"{layer}.ln_1.weight": (768,),
        f"{layer}.self_attention.in_proj_weight": (768, 2304),
        f"{layer}.self_attention.in_proj_bias": (2304,),
        f"{layer}.self_attention.out_proj.weight": (768, 768),
        f"{layer}.mlp.0.weight": (768, 3072),
        f"{layer}.mlp.3.weight": (3072, 768),
        "encoder.ln.bias": (768,),
        "heads.head.weight": (1000, 768),
    }.items():
        assert constants[name].shape == shape


def test_tiny_is_deits_on_small_patches() -> None:
    """DeiT-Ti is 12 layers of 192 features, 3 heads and an MLP of 768."""
    model = models.build("vit_tiny", num_classes=10)
    assert model.image_shape == (3, 32, 32)
    layer = (192 + 1) * 3 * 192 + (192 + 1) * 192 + (192 + 1) * 768 + (768 + 1) * 192 + 4 * 192
    embedding = (3 * 16 + 1) * 192 + 192 + 65 * 192
    assert count_parameters(model).total == embedding + 12 * layer + 2 * 192 + 193 * 10


def test_every_tensor_between_the_layers_has_a_known_shape() -> None:
    """But for the batch, so that work can be counted."""
    tensors = twin.build(SMALL, 16).graph.tensors()
    layer = "encoder.layers.encoder_layer_1"
    for name, shape in {
        "encoder.embedded": [17, 32],
        f"{layer}.self_attention.in_proj": [17, 96],
        f"{layer}.self_attention.v": [17, 32],
        f"{layer}.self_attention.scores": [4, 17, 17],
        f"{layer}.self_attention.joined": [17, 32],
        f"{layer}.mlp.1": [17, 48],
        "token": [32],
    }.items():
        assert tensors[name].shape[1:] == shape


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vit_b_16", {"stem": "cifar"}, "it has no form with the stem cifar; use the stem imagenet"),
        (
            "vit_b_16",
            {"input_size": 100},
            "an input of 100x100 is no whole number of its 16x16 patches;"
            " use an input size that is a multiple of 16",
        ),
        (
            "vit_tiny",
            {"input_size": 3},
            "an input of 3x3 is too small (stem cifar); use an input size of at least 4",
        ),
    ],
)
def test_refusals(name: str, options: dict, message: str) -> None:
    with pytest.raises(ModelError) as refusal:
        models.build(name, **options)
    assert str(refusal.value) == f"{name}: {message}"


def test_weights_of_torchvisions_first_files(tmp_path: Path) -> None:
    """Which call the MLP's layers linear_1 and linear_2."""
    new = twin.build(SMALL, 8)
    expected = twin.logits(new, tmp_path)
    stored = {}
    for name, values in twin.parameters(new).items():
        stored[name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2.")] = values
    assert "encoder.layers.encoder_layer_0.mlp.linear_2.weight" in stored
    path = tmp_path / "old.safetensors"
    save_file(stored, path)
    old = twin.build(SMALL, 8)
    load_weights(old, path)
    np.testing.assert_array_equal(run.logits(old, twin.images(old)), expected)


def test_weights_for_another_size_or_width(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(twin.parameters(twin.build(SMALL, 16)), path)
    model = twin.build(SMALL, 8)
    with pytest.raises(ModelError) as refusal:
        load_weights(model, path)
    assert str(refusal.value) == (
        f"{path}: encoder.pos_embedding is of another shape: (1, 17, 32), the network's is (1, 5, 32);"
        " use --input-size 16"
    )
    narrow = ViT(patch_size=4, num_layers=3, num_heads=4, hidden_dim=32, mlp_dim=40, stem="cifar")
    with pytest.raises(ModelError) as refusal:  # shapes are said as PyTorch has them
        load_weights(twin.build(narrow, 16), path)
    assert "mlp.0.weight) are of another shape: (48, 32), the network's is (40, 32);" in str(refusal.value)


def test_every_parameter_has_its_gradient() -> None:
    """That of float64 to the tolerance of every network that is trained."""
    net = ViT(patch_size=4, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=12, stem="cifar")
    proto = net.proto("vit", num_classes=networks.CLASSES, input_size=8, stem="cifar", seed=0)
    networks.assert_gradients(pipeline.with_task_loss(from_proto(proto)))


@pytest.mark.parametrize("size", [16, 32])
def test_answers_as_pytorch(tmp_path: Path, size: int) -> None:
    torch = pytest.importorskip("torch", reason="needs torch, which is not installed here")
    twin.assert_twins(SMALL, size, "cifar", tmp_path, module(torch, (size // 4) ** 2))


def test_answers_as_recorded(tmp_path: Path) -> None:
    twin.assert_recorded(SMALL, 16, "cifar", tmp_path, [1.381164, -0.240598, 2.033195, 0.038826])
