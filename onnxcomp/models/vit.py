"""Vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929), named and laid out as torchvision does.

A Linear layer of tokens (N, T, inputs) is a MatMul and an Add, as PyTorch's exporter writes it: its weight
has PyTorch's name and is stored (inputs, outputs), PyTorch's transposed. Gelu is written out as
``x (1 + erf(x / sqrt(2))) / 2``, which opset 17 has no operator for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx

from onnxcomp.models.base import Architecture
from onnxcomp.models.writer import Weights, Writer

EPSILON = 1e-6


@dataclass(frozen=True)
class ViT(Architecture):
    """Patches and a class token, position embeddings, layers of attention and MLP, the token's logits.

    Weights start as torchvision's do (uniform after Glorot & Bengio 2010 in attention and MLP), but for the
    head, which is all 0 there. Dropout is left out: the file is the network in inference form.

    Attributes:
        patch_size: height and width of a patch, in pixels.
        num_layers: of the encoder.
        num_heads: of the attention; divides ``hidden_dim``.
        hidden_dim: features of a token.
        mlp_dim: features inside the MLP.
        stem: it has one form, whatever the images; the name says which images it is known with.
    """

    patch_size: int = 16
    num_layers: int = 12
    num_heads: int = 12
    hidden_dim: int = 768
    mlp_dim: int = 3072
    stem: str = "imagenet"

    @property
    def stems(self) -> tuple[str, ...]:
        return (self.stem,)

    @property
    def input_unit(self) -> int:
        return self.patch_size

    def smallest_input(self, stem: str) -> int:
        """One patch."""
        return self.patch_size

    def proto(self, name: str, *, num_classes: int, input_size: int, stem: str, seed: int) -> onnx.ModelProto:
        """See :class:`onnxcomp.models.base.Architecture`."""
        net, patches = Writer(seed), (input_size // self.patch_size) ** 2
        x = self._embed(net, patches)
        for number in range(self.num_layers):
            layer = f"encoder.layers.encoder_layer_{number}"
            y = self._norm(net, f"{layer}.ln_1", x)
            y = self._attention(net, f"{layer}.self_attention", y, 1 + patches)
            x = net.node("Add", f"{layer}.add_1", [y, x])
            y = self._mlp(net, f"{layer}.mlp", self._norm(net, f"{layer}.ln_2", x))
            x = net.node("Add", f"{layer}.add_2", [x, y])
        x = self._norm(net, "encoder.ln", x)
        first = net.constant("token.index", np.array(0, np.int64))
        x = net.node("Gather", "token", [x, first], axis=1)
        net.head("heads.head", x, (num_classes, self.hidden_dim), "logits")
        return net.finish(name, ["N", 3, input_size, input_size], ["N", num_classes])

    def _embed(self, net: Writer, patches: int) -> str:
        """Tokens (N, 1 + patches, hidden_dim): the class token and a projection of each patch."""
        width, side = self.hidden_dim, self.patch_size
        weight = net.normal((width, 3, side, side), 1 / math.sqrt(3 * side * side))
        parameters = [
            net.constant("conv_proj.weight", weight),
            net.constant("conv_proj.bias", np.zeros(width, np.float32)),
        ]
        sides = [side, side]
        x = net.node("Conv", "conv_proj", ["input", *parameters], kernel_shape=sides, strides=sides)
        x = net.node("Reshape", "patches", [x, net.indices("patches.shape", (0, width, patches))])
        x = net.node("Transpose", "patches.tokens", [x], perm=[0, 2, 1])
        x = net.node("Concat", "tokens", [self._class_token(net, x), x], axis=1)
        position = net.constant("encoder.pos_embedding", net.normal((1, 1 + patches, width), 0.02))
        return net.node("Add", "encoder.embedded", [x, position])

    def _class_token(self, net: Writer, x: str) -> str:
        """The class token once for each image of ``x``, whose batch is free."""
        sizes = net.node("Shape", "tokens.sizes", [x])
        batch = net.node("Gather", "tokens.batch", [sizes, net.indices("tokens.first", (0,))], axis=0)
        rest = net.indices("tokens.rest", (1, self.hidden_dim))
        shape = net.node("Concat", "tokens.shape", [batch, rest], axis=0)
        token = net.constant("class_token", np.zeros((1, 1, self.hidden_dim), np.float32))
        return net.node("Expand", "tokens.class", [token, shape])

    def _attention(self, net: Writer, name: str, x: str, tokens: int) -> str:
        """Softmax(Q K^T / sqrt(d)) V for each head of d features (the paper's eq. 5 to 8)."""
        width, size = self.hidden_dim, self.hidden_dim // self.num_heads
        weight = net.uniform((width, 3 * width), math.sqrt(6 / (4 * width)))
        x = _linear(net, f"{name}.in_proj", x, weight, "_")
        parts, heads = net.split(f"{name}.split", x, {f"{name}.{part}": width for part in "qkv"}, 2), []
        for part, perm in zip(parts, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True):
            shape = net.indices(f"{part}.shape", (0, tokens, self.num_heads, size))
            y = net.node("Reshape", f"{part}.heads", [part, shape])
            heads.append(net.node("Transpose", f"{part}.transposed", [y], perm=perm))
        query, key, value = heads
        query = net.node("Mul", f"{name}.scaled", [query, net.number(f"{name}.scale", size**-0.5)])
        y = net.node("MatMul", f"{name}.scores", [query, key])
        y = net.node("Softmax", f"{name}.weights", [y], axis=-1)
        y = net.node("MatMul", f"{name}.mixed", [y, value])
        y = net.node("Transpose", f"{name}.transposed", [y], perm=[0, 2, 1, 3])
        y = net.node("Reshape", f"{name}.joined", [y, net.indices(f"{name}.shape", (0, tokens, width))])
        return _linear(net, f"{name}.out_proj", y, net.uniform((width, width), 1 / math.sqrt(width)))

    def _mlp(self, net: Writer, name: str, x: str) -> str:
        bound = math.sqrt(6 / (self.hidden_dim + self.mlp_dim))
        x = _linear(net, f"{name}.0", x, net.uniform((self.hidden_dim, self.mlp_dim), bound))
        x = _gelu(net, f"{name}.1", x)
        return _linear(net, f"{name}.3", x, net.uniform((self.mlp_dim, self.hidden_dim), bound))

    def _norm(self, net: Writer, name: str, x: str) -> str:
        parameters = [
            net.constant(f"{name}.weight", np.ones(self.hidden_dim, np.float32)),
            net.constant(f"{name}.bias", np.zeros(self.hidden_dim, np.float32)),
        ]
        return net.node("LayerNormalization", name, [x, *parameters], axis=-1, epsilon=EPSILON)


def _linear(net: Writer, name: str, x: str, weight: Weights, separator: str = ".") -> str:
    """``weight`` is (inputs, outputs); the bias starts at 0."""
    weight_name = net.constant(f"{name}{separator}weight", weight)
    bias = net.constant(f"{name}{separator}bias", np.zeros(weight.shape[1], np.float32))
    return net.node("Add", name, [net.node("MatMul", f"{name}.product", [x, weight_name]), bias])


def _gelu(net: Writer, name: str, x: str) -> str:
    y = net.node("Div", f"{name}.divided", [x, net.number(f"{name}.root", math.sqrt(2))])
    y = net.node("Erf", f"{name}.erf", [y])
    y = net.node("Add", f"{name}.sum", [y, net.number(f"{name}.one", 1)])
    y = net.node("Mul", f"{name}.product", [x, y])
    return net.node("Mul", name, [y, net.number(f"{name}.half", 0.5)])
