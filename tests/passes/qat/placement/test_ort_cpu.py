"""Where ONNX Runtime's CPU kernels want Q/DQ: on every side of what they compute in integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxcomp import graphs, pipeline
from onnxcomp import model as models
from onnxcomp import recipe as recipes
from onnxcomp.deploy.finalize import finalize_report
from onnxcomp.deploy.targets import get_target
from onnxcomp.model import to_proto
from onnxcomp.passes.qat.placement import Switches
from onnxcomp.passes.qat.placement.ort_cpu import place
from tests import classifiers, means, run, zoo
from tests.deploy.integer.small import fused

CONVOLUTIONAL = [name for name in classifiers.ARCHITECTURES if name != "vit"]


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_all_that_is_computed_is_quantised_on_all_sides(name: str) -> None:
    model = classifiers.network(name)
    found = place(model.graph, Switches(concat="shared"))
    inside = {"Conv": ("BatchNormalization", "Relu", "Clip"), "BatchNormalization": ("Relu", "Clip", "Add")}
    for node in model.graph.nodes:
        for tensor in node.inputs:
            if graphs.constant_behind(tensor) is not None:
                continue
            site = found.sites.get(tensor.name)
            if site is None:
                before = tensor.inputs[0]
                assert node.op in (*inside.get(before.op, ()), "Relu", "Clip"), (node.name, before.op)
                assert len(tensor.outputs) == 1
            else:
                assert any(reader is node for reader in site.readers)
    assert model.logits.name not in found.sites


def test_one_pair_for_all_readers_and_one_scale_for_what_is_joined() -> None:
    model = classifiers.network("densenet121")
    found = place(model.graph, Switches(concat="shared"))
    for node in model.graph.nodes:
        if node.op == "Concat":
            roots = {found.root(tensor.name) for tensor in (*node.inputs, *node.outputs)}
            assert len(roots) == 1
        if node.op == "MaxPool":
            assert found.root(node.inputs[0].name) == found.root(node.outputs[0].name)
    apart = place(model.graph, Switches(concat="each"))
    assert len(apart.groups()) > len(found.groups())
    assert set(apart.sites) == set(found.sites)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_what_is_never_negative_has_zero_point_0_and_the_whole_range(name: str) -> None:
    model = classifiers.network(name)
    quantized = pipeline.apply(
        model, recipes.parse("qat{calibration=max}"), calibration=run.Observed(), placement="ort-cpu"
    )
    signed = 0
    for pair in graphs.quantizers(quantized.graph):
        if pair.weight is not None:
            continue
        zero = pair.quantize.inputs[2].values
        if pair.source.inputs and pair.source.inputs[0].op in ("Relu", "Clip"):
            assert zero == 0
        signed += int(zero != 0)
    assert signed > 0, "the image and what comes out of a convolution before Add"
    images = run.images(model, 16, seed=1)  # those of run.Observed
    reference = {pair.source.name: pair for pair in graphs.quantizers(quantized.graph) if not pair.weight}
    values = next(iter(run.Observed().run(model, list(reference))))
    assert len(values[model.image.name]) == len(images)
    for name, array in values.items():
        pair = reference[name]
        scale, zero = pair.scale.values, pair.quantize.inputs[2].values
        low, high = (0 - float(zero)) * scale, (255 - float(zero)) * scale
        # Nothing clips by more than the step that rounding the zero point may cost.
        assert array.min() >= low - scale
        assert array.max() <= high + scale


@pytest.mark.parametrize("name", ["resnet", "mobilenet"])
def test_the_mean_over_height_and_width_is_average_pooling(name: str) -> None:
    model = models.from_proto(means.with_mean(zoo.ALL[name]()))
    (mean,) = (node for node in model.graph.nodes if node.op == "ReduceMean")
    found = place(model.graph, Switches(concat="shared"))
    assert found.reads(mean)
    assert found.sites[mean.outputs[0].name].readers == mean.outputs[0].outputs


@pytest.mark.parametrize("name", ["alexnet", "vgg", "mlp", "mobilenet_v3"])
def test_a_float_layer_behind_a_gemm_reads_floats(name: str, tmp_path: Path) -> None:
    """Its kernel can write them, where no integer kernel wants what it gives."""
    build = {**zoo.ALL, **zoo.MORE}.get(name)
    model = models.from_proto(build()) if build else classifiers.network(name)
    *_, before, last = graphs.weights(model.graph)
    assert before.node.op == "Gemm"
    found = place(model.graph, Switches(last=False))
    assert not found.reads(last.node)
    whole = place(model.graph, Switches())
    assert whole.reads(last.node)
    recipe = recipes.parse("qat{last=false}")
    quantized = pipeline.apply(model, recipe, calibration=run.Observed(), placement="ort-cpu")
    deployed, _ = finalize_report(quantized, get_target("ort-cpu"))
    fused_ops = [node.op_type for node in fused(to_proto(deployed).SerializeToString(), tmp_path)]
    gemms = sum(weight.node.op == "Gemm" for weight in graphs.weights(model.graph))
    assert fused_ops.count("QGemm") == gemms - (last.node.op == "Gemm")


@pytest.mark.parametrize("name", ["resnet", "mobilenet"])
def test_a_float_layer_behind_a_convolution_reads_what_its_kernel_writes(name: str, tmp_path: Path) -> None:
    """Else that convolution would be computed in float too."""
    model = models.from_proto(zoo.ALL[name]())
    layer = list(graphs.weights(model.graph))[1]
    found = place(model.graph, Switches(exclude=(layer.name,)))
    assert found.reads(layer.node)
    recipe = recipes.parse(f'qat{{exclude="{layer.name}"}}')
    quantized = pipeline.apply(model, recipe, calibration=run.Observed(), placement="ort-cpu")
    deployed, _ = finalize_report(quantized, get_target("ort-cpu"))
    counts = [node.op_type for node in fused(to_proto(deployed).SerializeToString(), tmp_path)]
    assert counts.count("QLinearConv") == len(found.layers) - 1  # and the classifier


def test_attention_is_left_alone_but_for_its_layers() -> None:
    model = classifiers.network("vit")
    found = place(model.graph, Switches(concat="shared"))
    for site in found.sites.values():
        layers = any(node.op in graphs.WEIGHTED_OPS for node in site.readers)
        patches = site.tensor.inputs and site.tensor.inputs[0].op in ("Conv", "Reshape", "Transpose")
        assert layers or patches
        assert site.tensor.dtype == np.float32
    assert {one.op for one in found.left} >= {"LayerNormalization", "Softmax"}
