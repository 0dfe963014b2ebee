"""The words for trtexec in each version's dialect."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.deploy.trtexec import flags
from onnxcomp.deploy.trtexec.flags import Build, FlagError, Infer, Measure
from onnxcomp.deploy.trtexec.version import OLDEST, Version
from tests.deploy.trtexec import stand_in
from tests.deploy.trtexec.installed import VERSIONS

EVERY = list(VERSIONS.values())
OLD = [version for version in EVERY if version < (11,)]
PATHS = st.sampled_from(["/tmp/a", "b c/ü.plan", "x=y"])
SHAPES = st.dictionaries(st.sampled_from(["input", "a:0"]), st.tuples(st.integers(1, 64), st.just(3)))
CORES = st.none() | st.integers(0, 1)
BUILDS = st.builds(
    Build, PATHS, PATHS, int8=st.booleans(), fp16=st.booleans(), sparse=st.booleans(), tf32=st.booleans(),
    shapes=SHAPES, timing_cache=st.none() | PATHS, dla_core=CORES, calibration=st.none() | PATHS,
    layer_precisions=st.sampled_from(["", "conv1:fp16,fc:fp16"]), workspace=st.none() | st.integers(1, 4096),
    optimization_level=st.none() | st.integers(0, 5),
)  # fmt: skip
MEASURES = st.builds(
    Measure, PATHS, warm_up=st.integers(0, 999), duration=st.integers(0, 99), iterations=st.integers(1, 99),
    shapes=SHAPES, dla_core=CORES, profile=st.none() | PATHS, layers=st.none() | PATHS,
    times=st.none() | PATHS,
)  # fmt: skip
INFERS = st.builds(
    Infer, PATHS, st.dictionaries(st.sampled_from(["input", "a:0"]), st.just("/tmp/a.bin"), min_size=1),
    PATHS,
    shapes=SHAPES, dla_core=CORES,
)  # fmt: skip


def accepted(words: list[str], version: Version) -> dict[str, str]:
    """What the stand-in of that version, as the documentation, understands of the words."""
    given_: dict[str, str] = stand_in.parse_options(words, tuple(version))
    assert [f"{name}={value}" if value else name for name, value in given_.items()] == words
    return given_


@given(BUILDS, st.sampled_from(EVERY))
def test_every_build_is_understood_or_refused(build: Build, version: Version) -> None:
    try:
        words = flags.build_words(build, version)
    except FlagError:
        return
    found = accepted(words, version)
    assert found["--onnx"] == build.onnx
    assert found["--saveEngine"] == build.engine
    assert ("--int8" in found) == (build.int8 and version < (11,))
    assert ("--sparsity" in found) == build.sparse
    assert found["--profilingVerbosity"] == "detailed"


@given(MEASURES, st.sampled_from(EVERY))
def test_every_measurement_is_understood_or_refused(measure: Measure, version: Version) -> None:
    try:
        words = flags.profile_words(measure, version)
    except FlagError:
        assert measure.dla_core is not None
        return
    found = accepted(words, version)
    assert found.get("--exportProfile") == measure.profile
    assert ("--separateProfileRun" in found) == (version < (11,))
    assert ("--noDataTransfers" in found) == (version < (11,))


@given(INFERS, st.sampled_from(EVERY))
def test_every_inference_is_understood_or_refused(infer: Infer, version: Version) -> None:
    try:
        words = flags.infer_words(infer, version)
    except FlagError:
        assert infer.dla_core is not None
        return
    found = accepted(words, version)
    assert "--noDataTransfers" not in found  # its inputs are to be copied
    assert ("--includeDataTransfers" in found) == (version >= (11,))


@pytest.mark.parametrize(
    ("version", "only"),
    [((8, 4, 1), "--buildOnly"), ((8, 5, 2), "--buildOnly"), ((8, 6, 1), "--skipInference"),
     ((9, 3, 0), "--skipInference"), ((10, 3, 0), "--skipInference"), ((11, 4, 1), "--skipInference")],
)  # fmt: skip
def test_building_alone_is_said_in_the_dialect(version: tuple[int, int, int], only: str) -> None:
    words = flags.build_words(Build("m.onnx", "m.plan"), Version(*version))
    assert only in words
    assert len({"--buildOnly", "--skipInference"} & set(words)) == 1


def test_versions_older_than_the_oldest_speak_its_dialect() -> None:
    assert flags.dialect(Version(8, 0, 0)) == flags.dialect(OLDEST)


@pytest.mark.parametrize("version", OLD)
def test_types_are_options_up_to_10(version: Version) -> None:
    build = Build("m.onnx", "m.plan", int8=True, fp16=True)
    assert {"--int8", "--fp16"} <= set(flags.build_words(build, version))
    assert flags.build_notes(build, version) == ()


def test_types_are_the_files_in_11() -> None:
    build = Build("m.onnx", "m.plan", int8=True, fp16=True)
    assert not {"--int8", "--fp16"} & set(flags.build_words(build, VERSIONS["11.1.0"]))
    int8, fp16 = flags.build_notes(build, VERSIONS["11.1.0"])
    assert "no --int8" in int8
    assert "float32 runs in float32" in fp16
    assert flags.build_notes(Build("m.onnx", "m.plan"), VERSIONS["11.1.0"]) == ()


def test_the_line_for_a_xavier() -> None:
    build = Build(
        "m.onnx", "m.plan", int8=True, fp16=True, timing_cache="t.cache", workspace=2048,
        shapes={"input": (8, 3, 32, 32)},
    )  # fmt: skip
    assert flags.build_words(build, VERSIONS["8.5.2"]) == [
        "--onnx=m.onnx", "--saveEngine=m.plan", "--buildOnly", "--profilingVerbosity=detailed", "--int8",
        "--fp16", "--optShapes=input:8x3x32x32", "--timingCacheFile=t.cache",
        "--memPoolSize=workspace:2048",
    ]  # fmt: skip


def test_for_the_dla() -> None:
    build = Build("m.onnx", "m.plan", int8=True, fp16=True, dla_core=0, calibration="c.cache",
                  layer_precisions="fc:fp16")  # fmt: skip
    words = flags.build_words(build, VERSIONS["8.5.2"])
    assert {"--useDLACore=0", "--allowGPUFallback", "--calib=c.cache", "--layerPrecisions=fc:fp16"} <= set(
        words
    )
    assert "--precisionConstraints=prefer" in words
    measured = flags.profile_words(Measure("m.plan", dla_core=0), VERSIONS["8.5.2"])
    assert "--useDLACore=0" in measured
    assert "--useCudaGraph" not in measured  # "not simultaneously supported", sampleOptions.cpp of 10.x
    assert "--noCudaGraph" in flags.profile_words(Measure("m.plan", dla_core=0), Version(11, 4, 1))


@pytest.mark.parametrize(
    ("build", "version", "says"),
    [
        (
            Build("a", "b", optimization_level=5),
            (8, 5, 2),
            "TensorRT 8.5.2 has no optimization levels; leave",
        ),
        (Build("a", "b", int8=True, calibration="c"), (11, 1, 0), "takes no calibration cache and no layer"),
        (Build("a", "b", layer_precisions="x:fp16"), (11, 1, 0), "takes no calibration cache and no layer"),
        (Build("a", "b", calibration="c"), (8, 5, 2), "of no use without INT8"),
        (Build("a", "b", dla_core=0), (11, 1, 0), "TensorRT 11.1.0 does not support the DLA; use"),
        (Build("a", "b", dla_core=0), (10, 9, 0), "does not support the DLA"),
        (Build("a", "b", shapes={"in,put": (1,)}), (8, 5, 2), "in,put: trtexec cannot be told"),
    ],
)
def test_what_a_version_cannot_be_told_is_an_error(build: Build, version: tuple, says: str) -> None:
    with pytest.raises(FlagError, match=says):
        flags.build_words(build, Version(*version))


@pytest.mark.parametrize(
    ("inputs", "says"),
    [({"in'put": "a"}, "in'put: trtexec"), ({"x": "a,b"}, "a,b: has a comma"), ({"x": "a:b"}, "a:b: has")],
)  # fmt: skip
def test_names_and_paths_that_its_command_line_cannot_carry(inputs: dict[str, str], says: str) -> None:
    with pytest.raises(FlagError, match=says):
        flags.infer_words(Infer("e", inputs, "o"), VERSIONS["8.5.2"])


def test_words_of_one_version_are_an_error_in_another() -> None:
    """So that the tests above can fail."""
    words = flags.build_words(Build("m.onnx", "m.plan", int8=True), VERSIONS["8.5.2"])
    for version in ("10.3.0", "11.1.0"):
        with pytest.raises(stand_in.RefusedError, match="Unknown option: --buildOnly"):
            stand_in.parse_options(words, tuple(VERSIONS[version]))
