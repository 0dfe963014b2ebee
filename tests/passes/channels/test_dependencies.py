"""Which channels go together, on networks where that is known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import pipeline
from onnxcomp import recipe as recipes
from onnxcomp.model import Model, from_proto
from onnxcomp.passes.channels import find
from tests import classifiers, run, zoo
from tests.builder import Builder, bn_relu, conv
from tests.passes.channels.small import (
    CLASSES,
    after,
    classifier,
    ending,
    gemm,
    half,
    integers,
    numbers,
    reasons,
    summary,
)

PRUNE = "prune{keep_first=false keep_last=false}"


def chain(net: Builder, x: str) -> str:
    """Conv, BN, Relu twice."""
    x = bn_relu(net, conv(net, x, "a", 3, 4), "norm_a", 4)
    return bn_relu(net, conv(net, x, "b", 4, 6), "norm_b", 6)


def test_a_chain_has_a_group_a_layer_and_every_constant_is_followed() -> None:
    model = classifier(chain, 6)
    assert summary(model) == {("a.weight",): 4, ("b.weight",): 6, ("fc.weight",): 0}
    assert reasons(model) == {"fc.weight": "output is an output of the network"}
    found = find(model.graph)
    a, b = numbers(found, "a.weight", 0), numbers(found, "b.weight", 0)
    assert len({*a, *b}) == 10
    assert numbers(found, "b.weight", 1) == a
    assert numbers(found, "fc.weight", 1) == b
    for kind in ("weight", "bias", "running_mean", "running_var"):
        assert numbers(found, f"norm_a.{kind}", 0) == a
    assert numbers(found, "a.weight", 1) == [-1, -1, -1], "the image's channels stay"
    assert [source.name for source in found.sources] == ["a.weight", "b.weight", "fc.weight"]
    after(model, half(model))


def test_a_residual_sum_couples_layers_and_a_concatenation_does_not() -> None:
    def added(net: Builder, x: str) -> str:
        a, b = conv(net, x, "a", 3, 4), conv(net, x, "b", 3, 4)
        return conv(net, net.node("Add", [a, b], "sum"), "c", 4, 6)

    def joined(net: Builder, x: str) -> str:
        a, b = conv(net, x, "a", 3, 4), conv(net, x, "b", 3, 4)
        return conv(net, net.node("Concat", [a, b], "both", axis=1), "c", 8, 6)

    model = classifier(added, 6)
    assert summary(model) == {("a.weight", "b.weight"): 4, ("c.weight",): 6, ("fc.weight",): 0}
    found = find(model.graph)
    assert numbers(found, "a.weight", 0) == numbers(found, "b.weight", 0) == numbers(found, "c.weight", 1)
    after(model, half(model))
    model = classifier(joined, 6)
    assert summary(model) == {("a.weight",): 4, ("b.weight",): 4, ("c.weight",): 6, ("fc.weight",): 0}
    found = find(model.graph)
    assert numbers(found, "c.weight", 1) == numbers(found, "a.weight", 0) + numbers(found, "b.weight", 0)
    after(model, half(model))


def test_a_long_residual_stream_is_one_group() -> None:
    def stream(net: Builder, x: str) -> str:
        x = conv(net, x, "stem", 3, 4)
        for block in range(3):
            x = net.node("Add", [x, conv(net, x, f"b{block}", 4, 4)], f"sum{block}")
        return x

    model = classifier(stream, 4)
    assert summary(model) == {("stem.weight", "b0.weight", "b1.weight", "b2.weight"): 4, ("fc.weight",): 0}
    after(model, half(model))


def test_what_meets_the_image_is_kept() -> None:
    model = classifier(lambda net, x: net.node("Add", [x, conv(net, x, "a", 3, 3)], "sum", "sum"), 3)
    assert reasons(model)["a.weight"] == "Add sum combines them with fixed ones"


def test_one_layer_read_by_two_is_shared() -> None:
    def twice(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 4)
        y = conv(net, x, "b", 4, 4)
        return net.node("Concat", [y, conv(net, x, "c", 4, 3)], "both", axis=1)

    model = classifier(twice, 7)
    found = find(model.graph)
    assert numbers(found, "b.weight", 1) == numbers(found, "c.weight", 1) == numbers(found, "a.weight", 0)
    after(model, half(model))


def test_a_shared_weight_makes_one_set_of_channels() -> None:
    """Read twice, on tensors whose channels therefore go together; its bias too."""

    def shared(net: Builder, x: str) -> str:
        a, b = conv(net, x, "a", 3, 4), conv(net, x, "b", 3, 4)
        w, bias = net.constant("w", net.he(6, 4, 1, 1)), net.constant("bias", net.small(6))
        a, b = net.node("Conv", [a, w, bias], "wa"), net.node("Conv", [b, w, bias], "wb")
        return net.node("Concat", [a, b], "both", axis=1)

    model = classifier(shared, 12)
    assert summary(model) == {("a.weight", "b.weight"): 4, ("w",): 6, ("fc.weight",): 0}
    found = find(model.graph)
    assert numbers(found, "fc.weight", 1) == numbers(found, "w", 0) * 2
    assert numbers(found, "bias", 0) == numbers(found, "w", 0)
    after(model, half(model))


def test_a_weight_that_reads_what_it_makes_couples_its_axes() -> None:
    def recurrent(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 4)
        w = net.constant("w", net.he(4, 4, 3, 3))
        for step in range(2):
            x = net.node("Conv", [x, w], f"step{step}", pads=[1] * 4)
        return x

    model = classifier(recurrent, 4)
    found = find(model.graph)
    assert summary(model) == {("a.weight", "w"): 4, ("fc.weight",): 0}
    assert numbers(found, "w", 0) == numbers(found, "w", 1)
    after(model, half(model))


def test_a_constant_that_something_else_reads_is_not_cut() -> None:
    def tied(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 4, kernel=1)
        w = net.constant("w", net.he(4, 4, 1, 1))
        x = net.node("Conv", [x, w], "first")
        size = net.node("ReduceL2", [w], "norm", "norm", keepdims=0)
        return net.node("Mul", [x, size], "scaled")

    model = classifier(tied, 4)
    assert reasons(model)["w"] == "ReduceL2 norm reads w too"
    assert summary(model)[("w",)] == 0


def test_the_logits_keep_their_width_also_behind_other_nodes() -> None:
    def many(net: Builder, x: str) -> str:
        x = net.node("Flatten", [net.node("GlobalAveragePool", [conv(net, x, "a", 3, 4)], "pool")], "flat")
        a, b = gemm(net, x, "b", 4, CLASSES), gemm(net, x, "c", 4, CLASSES)
        return net.node("Relu", [net.node("Sum", [a, b], "sum")], "relu")

    model = ending(many)
    assert summary(model) == {("a.weight",): 4, ("b.weight", "c.weight"): 0}
    assert reasons(model) == {"b.weight": "output is an output of the network"}


def test_logits_that_are_convolved_keep_their_width() -> None:
    def whole(net: Builder, x: str) -> str:
        x = conv(net, conv(net, x, "a", 3, 4), "b", 4, CLASSES)
        return net.node("Flatten", [net.node("GlobalAveragePool", [x], "pool")], "flat")

    assert summary(ending(whole)) == {("a.weight",): 4, ("b.weight",): 0}


def test_squeeze_and_excitation() -> None:
    """The gate has the channels that it scales; the bottleneck has its own."""

    def gated(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 8)
        y = net.node("GlobalAveragePool", [x], "pool")
        y = net.node("Relu", [conv(net, y, "down", 8, 3, kernel=1, bias=True)], "relu")
        y = net.node("Sigmoid", [conv(net, y, "up", 3, 8, kernel=1, bias=True)], "gate")
        return net.node("Mul", [x, y], "gated")

    model = classifier(gated, 8)
    assert summary(model) == {("a.weight", "up.weight"): 8, ("down.weight",): 3, ("fc.weight",): 0}
    found = find(model.graph)
    assert numbers(found, "down.weight", 1) == numbers(found, "up.weight", 0) == numbers(found, "up.bias", 0)
    after(model, half(model))


def test_a_channel_shuffle() -> None:
    """Two branches, one of them untouched, interleaved: ShuffleNet. Positions 0, 2, 4 are the first's."""

    def shuffled(net: Builder, x: str) -> str:
        a, b = conv(net, x, "a", 3, 3), conv(net, x, "b", 3, 3)
        x = net.node("Concat", [a, b], "both", axis=1)
        x = net.node("Reshape", [x, integers(net, "apart", 0, 2, 3, 6, 6)], "parts")
        x = net.node("Transpose", [x], "turned", perm=[0, 2, 1, 3, 4])
        x = net.node("Reshape", [x, integers(net, "together", 0, 6, 6, 6)], "mixed")
        return conv(net, x, "c", 6, 4)

    model = classifier(shuffled, 4)
    found = find(model.graph)
    a, b = numbers(found, "a.weight", 0), numbers(found, "b.weight", 0)
    # The tensor in between is a box (2, 3): a channel of one branch goes with its counterpart.
    assert a == b
    assert numbers(found, "c.weight", 1) == [a[0], a[0], a[1], a[1], a[2], a[2]]
    assert summary(model) == {("a.weight", "b.weight"): 3, ("c.weight",): 4, ("fc.weight",): 0}
    result = after(model, [a[1]])
    shapes = [n.inputs[1].values.tolist() for n in result.graph.nodes if n.op == "Reshape"]
    assert shapes == [[0, 2, 2, 6, 6], [0, 4, 6, 6]]
    assert result.constants()["c.weight"].values.shape == (4, 4, 3, 3)


def test_a_shuffle_of_the_image_and_of_channels_keeps_them() -> None:
    """The tensor in between is a box, of which half has no channels: none can go."""

    def shuffled(net: Builder, x: str) -> str:
        x = net.node("Concat", [x, conv(net, x, "b", 3, 3)], "both", axis=1)
        x = net.node("Reshape", [x, integers(net, "apart", 0, 2, 3, 6, 6)], "parts")
        x = net.node("Transpose", [x], "turned", perm=[0, 2, 1, 3, 4])
        x = net.node("Reshape", [x, integers(net, "together", 0, 6, 6, 6)], "mixed")
        return conv(net, x, "c", 6, 4)

    assert summary(classifier(shuffled, 4)) == {("b.weight",): 0, ("c.weight",): 4, ("fc.weight",): 0}


def test_flatten_repeats_each_channel_over_its_positions() -> None:
    def flat(net: Builder, x: str) -> str:
        x = net.node("Flatten", [conv(net, x, "a", 3, 4)], "flat")
        return gemm(net, net.node("Relu", [gemm(net, x, "b", 4 * 36, 6)], "relu"), "fc", 6, CLASSES)

    model = ending(flat)
    found = find(model.graph)
    assert numbers(found, "b.weight", 1) == np.repeat(numbers(found, "a.weight", 0), 36).tolist()
    result = after(model, [numbers(found, "a.weight", 0)[2], numbers(found, "b.weight", 0)[0]])
    assert result.constants()["b.weight"].values.shape == (5, 3 * 36)
    before, rest = model.constants()["b.weight"].values, result.constants()["b.weight"].values
    np.testing.assert_array_equal(rest, np.delete(np.delete(before, np.s_[72:108], 1), 0, 0))


def attention(net: Builder, x: str, *, heads: int = 3, size: int = 4, norm: bool = False) -> str:
    """(N, 3, 6, 6) as 36 tokens of ``stem`` channels, attended to with separate q, k and v."""
    width = heads * size
    x = conv(net, x, "stem", 3, width, kernel=1)
    x = net.node("Reshape", [x, integers(net, "flat", 0, width, 36)], "tokens_last")
    x = net.node("Transpose", [x], "tokens", perm=[0, 2, 1])
    if norm:
        scale, shift = net.constant("ln.weight", net.he(width)), net.constant("ln.bias", net.small(width))
        x = net.node("LayerNormalization", [x, scale, shift], "normal", "norm", axis=-1)
    split = integers(net, "split", 0, 36, heads, size)
    parts = []
    for name, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        y = net.node("MatMul", [x, net.constant(f"{name}.weight", net.he(width, width))], f"{name}.flat")
        y = net.node("Add", [y, net.constant(f"{name}.bias", net.small(width))], f"{name}.sum")
        y = net.node("Reshape", [y, split], f"{name}.split")
        parts.append(net.node("Transpose", [y], f"{name}.heads", perm=perm))
    weights = net.node("Softmax", [net.node("MatMul", parts[:2], "scores")], "weights", "softmax", axis=-1)
    y = net.node("MatMul", [weights, parts[2]], "mixed")
    y = net.node("Transpose", [y], "back", perm=[0, 2, 1, 3])
    y = net.node("Reshape", [y, integers(net, "join", 0, 36, width)], "joined")
    y = net.node("MatMul", [y, net.constant("proj.weight", net.he(width, 10))], "proj")
    y = net.node("Transpose", [y], "channels_first", perm=[0, 2, 1])
    return net.node("Reshape", [y, integers(net, "image", 0, 10, 6, 6)], "pixels")


def test_attention_heads_go_whole() -> None:
    model = classifier(attention, 10)
    assert summary(model) == {
        ("stem.weight",): 12,
        ("q.weight", "k.weight", "v.weight"): 3,
        ("proj.weight",): 10,
        ("fc.weight",): 0,
    }
    found = find(model.graph)
    q = numbers(found, "q.weight", 1)
    assert [q[4 * head : 4 * head + 4] for head in range(3)] == [[q[4 * head]] * 4 for head in range(3)]
    for name, axis in (("k.weight", 1), ("v.weight", 1), ("proj.weight", 0), ("q.bias", 0)):
        assert numbers(found, name, axis) == q
    result = after(model, [q[4]])
    assert result.constants()["v.weight"].values.shape == (12, 8)
    assert sorted(c.values.tolist() for n, c in result.constants().items() if "shape" in n) == [
        [0, 36, 2, 4],
        [0, 36, 2, 4],
        [0, 36, 2, 4],
        [0, 36, 8],
    ]
    after(model, half(model))


def test_normalisation_over_channels_keeps_them_with_a_reason() -> None:
    model = classifier(lambda net, x: attention(net, x, norm=True), 10)
    assert reasons(model)["stem.weight"] == "LayerNormalization norm sums over all of them"
    assert summary(model)[("q.weight", "k.weight", "v.weight")] == 3, "heads still go"


def test_a_teacher_and_losses_keep_what_they_read() -> None:
    model = from_proto(zoo.resnet())
    alone = summary(model)
    taught = pipeline.apply(model, recipes.parse("distill"))
    lines = reasons(taught)
    assert lines["fc.weight"] == "output is an output of the network"
    boundaries = {name for name, reason in lines.items() if "compares them with the teacher's" in reason}
    assert boundaries == {"onnx::Conv_123", "onnx::Conv_133"}, "the ends of both stages"
    for members, free in summary(taught).items():
        assert free == (0 if members[0] in lines else alone[members])
    every = {name for group in find(taught.graph).groups for name in group.members}
    assert not any(name.startswith("teacher/") for name in every)


@pytest.mark.parametrize("passes", [PRUNE, "qat", f"{PRUNE},qat"])
@pytest.mark.parametrize("name", zoo.ALL)
def test_masks_and_q_dq_change_nothing(name: str, passes: str) -> None:
    model = from_proto(zoo.ALL[name]())
    done = pipeline.apply(model, recipes.parse(passes), calibration=run.Observed())
    assert summary(done) == summary(model)
    plain, compressed = find(model.graph), find(done.graph)
    for constant, axes in plain.constants.items():
        for axis, channels in axes.items():
            assert compressed.constants[constant][axis].tolist() == channels.tolist()
            for mask in (f"{constant}.mask",) if f"{constant}.mask" in compressed.constants else ():
                assert compressed.constants[mask][axis].tolist() == channels.tolist()


def test_folded_and_unfolded_networks_have_the_same_groups() -> None:
    for name in ("vgg11_bn", "resnet18"):
        assert summary(classifiers.FOLDED[name]()) == summary(classifiers.NETWORKS[name]())


def test_the_groups_of_a_resnet() -> None:
    """Each stage's residual stream is one group, each block's inner width another: 2 x 4 + 4, and fc."""
    model = classifiers.NETWORKS["resnet18"]()
    found = summary(model)
    assert [width for members, width in found.items() if len(members) > 1] == [16, 32, 64, 128]
    assert [members for members, width in found.items() if not width] == [("fc.weight",)]
    assert len(found) == 13


def test_what_stays_is_known_by_number() -> None:
    found = find(classifier(chain, 6).graph)
    keep = found.kept([1, 4])
    assert keep.shape == (found.size + 1,)
    assert np.flatnonzero(~keep).tolist() == [1, 4]
    assert keep[-1]
    for span in found.spans():
        assert (span >= 0).all()


def single(net: Builder, x: str) -> str:
    return gemm(net, net.node("Flatten", [x], "flat"), "fc", 108, CLASSES)


def test_a_network_of_one_layer_has_nothing_to_give() -> None:
    model: Model = ending(single)
    assert summary(model) == {("fc.weight",): 0}
