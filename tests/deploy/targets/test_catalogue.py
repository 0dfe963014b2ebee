from __future__ import annotations

import pytest

from onnxcomp.deploy.targets import KINDS, TARGETS, Target, get_target
from onnxcomp.errors import OnnxcompError


def test_each_target_is_found_by_its_name() -> None:
    for name, target in TARGETS.items():
        assert get_target(name) is target
        assert target.name == name


def test_xavier_is_what_the_tensorrt_8_5_parser_takes() -> None:
    xavier = get_target("xavier")
    assert (xavier.max_opset, xavier.weights, xavier.activations) == (17, "float", "int8")


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("xaveir", "did you mean xavier?"),
        ("ORIN", "did you mean orin?"),
        ("ort_cpu", "did you mean ort-cpu?"),
        ("tpu9000", f"choose one of {', '.join(TARGETS)}, or a .yaml file"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, fix: str) -> None:
    with pytest.raises(OnnxcompError) as caught:
        get_target(name)
    assert str(caught.value) == f"--target: there is no target {name}; {fix}"


JETSONS = ("xavier", "xavier-nx", "xavier-dla", "orin", "orin-nano", "orin-dla")
CARDS = ("tensorrt-11", "h200", "h100", "rtx-20", "rtx-30", "rtx-40", "rtx-50")


def test_all_are_there() -> None:
    assert set(TARGETS) == {*JETSONS, *CARDS, "ort-cpu"}


def test_widths_and_sparse_kernels_are_those_of_the_hardware() -> None:
    """2:4 needs compute capability 8.0, or the DLA of an Orin."""
    for name, target in TARGETS.items():
        expected = 16 if name == "ort-cpu" else 32
        assert target.alignment == expected
        ampere = target.compute_capability is None or target.compute_capability >= (8, 0)
        assert (target.two_four is not None) == (ampere and name != "ort-cpu"), name
        if target.rates is not None:
            assert (target.rates.sparse > 1) == (target.two_four is not None), name
        assert ("2:4 pattern bring speed" in target.sparsity) == (target.two_four is not None)
    assert (get_target("orin").two_four, get_target("orin-dla").two_four) == (256, 65)


def test_versions_of_tensorrt() -> None:
    opsets = {(8, 5, 2): 17, (10, 3, 0): 20, (11, 0, 0): 24, None: 20}
    for name, target in TARGETS.items():
        assert target.max_opset == opsets[target.tensorrt]
        assert target.dla == name.endswith("-dla")
        # 8.5 takes float32 weights only, and so does what is calibrated.
        floats = target.dla or target.tensorrt == (8, 5, 2)
        assert target.weights == ("float" if floats else "int8")
    assert {name for name in TARGETS if TARGETS[name].tensorrt == (8, 5, 2)} == {
        name for name in JETSONS if name.startswith("xavier")
    }


def test_each_is_of_a_kind() -> None:
    """What finalize and lint look at is that of one of the kinds, with which they are tested."""

    def kind(target: Target) -> tuple[object, ...]:
        form = (target.max_opset, target.weights, target.activations, target.placement)
        return (*form, target.tensorrt, target.dla, target.alignment)

    kinds = {kind(target) for target in KINDS}
    assert len(kinds) == len(KINDS)
    assert {kind(target) for target in TARGETS.values()} == kinds


def test_jetsons_say_their_jetpack() -> None:
    assert {name for name, target in TARGETS.items() if target.jetpack} == set(JETSONS)


def test_figures_are_plausible() -> None:
    """INT8 is faster than FP16 and FP16 than float32; a card is faster than a board."""
    for target in TARGETS.values():
        rates = target.rates
        if rates is None:
            assert target.name in ("tensorrt-11", "ort-cpu")
            continue
        known = [rate for rate in (rates.fp32, rates.fp16, rates.int8) if rate is not None]
        assert known == sorted(known)
        assert rates.int8 is not None
        assert 1e12 < rates.int8 < 1e16
        assert target.bandwidth is not None
        assert 1e10 < target.bandwidth < 1e13
        assert target.memory is not None
        assert 1e9 < target.memory < 1e12
