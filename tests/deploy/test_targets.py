from __future__ import annotations

import pytest

from onnxcomp.deploy.targets import TARGETS, get_target
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
        ("tpu9000", "choose one of xavier, xavier-dla, orin, orin-dla, tensorrt-11, ort-cpu"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, fix: str) -> None:
    with pytest.raises(OnnxcompError) as caught:
        get_target(name)
    assert str(caught.value) == f"--target: there is no target {name}; {fix}"


def test_widths_and_sparse_kernels_are_those_of_the_hardware() -> None:
    found = {name: (target.alignment, target.two_four) for name, target in TARGETS.items()}
    assert found == {
        "xavier": (32, None),
        "xavier-dla": (32, None),
        "orin": (32, 256),
        "orin-dla": (32, 65),
        "tensorrt-11": (32, 256),
        "ort-cpu": (16, None),
    }


def test_versions_of_tensorrt() -> None:
    found = {name: (target.tensorrt, target.dla, target.max_opset) for name, target in TARGETS.items()}
    assert found == {
        "xavier": ((8, 5, 2), False, 17),
        "xavier-dla": ((8, 5, 2), True, 17),
        "orin": ((10, 3, 0), False, 20),
        "orin-dla": ((10, 3, 0), True, 20),
        "tensorrt-11": ((11, 0, 0), False, 24),
        "ort-cpu": (None, False, 20),
    }
