"""A small vision transformer as torch's exporter writes timm's: shapes computed in the graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from tests.builder import Builder

WIDTH, HEADS, HIDDEN, PATCH = 12, 2, 24, 4


def vit(
    opset: int = 17,
    batch: str | int = "N",
    *,
    classes: int = 10,
    size: int = 16,
    channels: int = 3,
    seed: int = 0,
    depth: int = 2,
) -> onnx.ModelProto:
    """Patches, class token, position embedding, ``depth`` blocks of attention and MLP, the token's logits.

    LayerNormalization is one node from opset 17 on and nine before, Gelu one from opset 20 on and five
    before.
    """
    net = _Vit(seed, opset)
    patches = (size // PATCH) ** 2
    x = net.embed(channels, patches)
    for index in range(depth):
        x = net.block(x, f"blocks.{index}", patches + 1)
    x = net.layer_norm(x, "norm")
    x = net.out("Gather", [x, net.index(0)], "/Gather", axis=1)
    weight, bias = (
        net.constant("head.weight", net.he(classes, WIDTH)),
        net.constant("head.bias", net.small(classes)),
    )
    x = net.out("Gemm", [x, weight, bias], "/head/Gemm", transB=1)
    return net.model(x, opset, (batch, channels, size, size), classes)


class _Vit(Builder):
    def __init__(self, seed: int, opset: int) -> None:
        super().__init__(seed)
        self.opset = opset
        self.count = 0

    def out(self, op: str, inputs: Sequence[str], name: str, **attributes: object) -> str:
        return self.node(op, inputs, f"{name}_output_0", name, **attributes)

    def number(self, value: float) -> str:
        self.count += 1
        return self.constant(f"onnx::number_{self.count}", np.array(value, np.float32))

    def index(self, *values: int) -> str:
        """One index is a scalar, several are a vector."""
        self.count += 1
        array = np.array(values if len(values) > 1 else values[0], np.int64)
        return self.constant(f"onnx::index_{self.count}", array)

    def vector(self, *values: int) -> str:
        self.count += 1
        return self.constant(f"onnx::vector_{self.count}", np.array(values, np.int64))

    def shape(self, x: str, name: str, *sizes: int) -> str:
        """A shape whose first size is that of ``x``, found in the graph."""
        found = self.out("Shape", [x], f"{name}/Shape")
        first = self.out("Gather", [found, self.index(0)], f"{name}/Gather", axis=0)
        first = self.out("Unsqueeze", [first, self.vector(0)], f"{name}/Unsqueeze")
        return self.out("Concat", [first, self.vector(*sizes)], f"{name}/Concat", axis=0)

    def embed(self, channels: int, patches: int) -> str:
        weight = self.constant("patch_embed.proj.weight", self.he(WIDTH, channels, PATCH, PATCH))
        inputs = ["input", weight, self.constant("patch_embed.proj.bias", self.small(WIDTH))]
        attributes = {"kernel_shape": [PATCH] * 2, "strides": [PATCH] * 2}
        x = self.out("Conv", inputs, "/patch_embed/proj/Conv", **attributes)
        target = self.shape(x, "/patch_embed", WIDTH, -1)
        x = self.out("Reshape", [x, target], "/patch_embed/Reshape")
        x = self.out("Transpose", [x], "/patch_embed/Transpose", perm=[0, 2, 1])
        token = self.out(
            "Expand", [self.constant("cls_token", self.small(1, 1, WIDTH)), self.token_shape(x)], "/Expand"
        )
        x = self.out("Concat", [token, x], "/Concat", axis=1)
        return self.out("Add", [x, self.constant("pos_embed", self.small(1, patches + 1, WIDTH))], "/Add")

    def token_shape(self, x: str) -> str:
        """``expand(batch, -1, -1)``: the exporter turns each -1 into 1 when the graph runs."""
        target = self.shape(x, "/token", -1, -1)
        minus_one = self.vector(-1, -1, -1)
        unknown = self.out("Equal", [target, minus_one], "/token/Equal")
        return self.out("Where", [unknown, self.vector(1, 1, 1), target], "/token/Where")

    def block(self, x: str, name: str, tokens: int) -> str:
        path = "/" + name.replace(".", "/")
        y = self.attention(self.layer_norm(x, f"{name}.norm1"), f"{name}.attn", tokens)
        x = self.out("Add", [x, y], f"{path}/Add")
        y = self.linear(self.layer_norm(x, f"{name}.norm2"), f"{name}.mlp.fc1", WIDTH, HIDDEN)
        y = self.linear(self.gelu(y, f"{path}/mlp/act"), f"{name}.mlp.fc2", HIDDEN, WIDTH)
        return self.out("Add", [x, y], f"{path}/Add_1")

    def attention(self, x: str, name: str, tokens: int) -> str:
        path, size = "/" + name.replace(".", "/"), WIDTH // HEADS
        y = self.linear(x, f"{name}.qkv", WIDTH, 3 * WIDTH)
        y = self.out("Reshape", [y, self.shape(x, path, tokens, 3, HEADS, size)], f"{path}/Reshape")
        y = self.out("Transpose", [y], f"{path}/Transpose", perm=[2, 0, 3, 1, 4])
        q, k, v = (self.out("Gather", [y, self.index(i)], f"{path}/Gather_{i}", axis=0) for i in range(3))
        q = self.out("Mul", [q, self.number(size**-0.5)], f"{path}/Mul")
        k = self.out("Transpose", [k], f"{path}/Transpose_1", perm=[0, 1, 3, 2])
        weights = self.out("MatMul", [q, k], f"{path}/MatMul")
        weights = self.out("Softmax", [weights], f"{path}/Softmax", axis=-1)
        y = self.out("MatMul", [weights, v], f"{path}/MatMul_1")
        y = self.out("Transpose", [y], f"{path}/Transpose_2", perm=[0, 2, 1, 3])
        y = self.out("Reshape", [y, self.shape(x, f"{path}/back", tokens, WIDTH)], f"{path}/Reshape_1")
        return self.linear(y, f"{name}.proj", WIDTH, WIDTH)

    def linear(self, x: str, name: str, inputs: int, outputs: int) -> str:
        path = "/" + name.replace(".", "/")
        self.count += 1
        weight = self.constant(f"onnx::MatMul_{self.count}", self.he(outputs, inputs).T)
        y = self.out("MatMul", [x, weight], f"{path}/MatMul")
        return self.out("Add", [self.constant(f"{name}.bias", self.small(outputs)), y], f"{path}/Add")

    def layer_norm(self, x: str, name: str) -> str:
        path = "/" + name.replace(".", "/")
        scale = self.constant(f"{name}.weight", self.rng.uniform(0.5, 1.5, WIDTH).astype(np.float32))
        bias = self.constant(f"{name}.bias", self.small(WIDTH))
        if self.opset >= 17:
            return self.out(
                "LayerNormalization", [x, scale, bias], f"{path}/LayerNormalization", axis=-1, epsilon=1e-6
            )
        mean = self.out("ReduceMean", [x], f"{path}/ReduceMean", axes=[-1])
        centred = self.out("Sub", [x, mean], f"{path}/Sub")
        square = self.out("Pow", [centred, self.number(2)], f"{path}/Pow")
        variance = self.out("ReduceMean", [square], f"{path}/ReduceMean_1", axes=[-1])
        variance = self.out("Add", [variance, self.number(1e-6)], f"{path}/Add")
        deviation = self.out("Sqrt", [variance], f"{path}/Sqrt")
        y = self.out("Div", [centred, deviation], f"{path}/Div")
        return self.out("Add", [self.out("Mul", [y, scale], f"{path}/Mul"), bias], f"{path}/Add_1")

    def gelu(self, x: str, path: str) -> str:
        if self.opset >= 20:
            return self.out("Gelu", [x], f"{path}/Gelu")
        y = self.out("Erf", [self.out("Div", [x, self.number(2**0.5)], f"{path}/Div")], f"{path}/Erf")
        y = self.out("Mul", [x, self.out("Add", [y, self.number(1)], f"{path}/Add")], f"{path}/Mul")
        return self.out("Mul", [y, self.number(0.5)], f"{path}/Mul_1")
