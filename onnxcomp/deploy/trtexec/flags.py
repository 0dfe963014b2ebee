"""The words after ``trtexec`` for a build, a measurement and an inference, in the dialect of each version.

Read in samples/common/sampleOptions.cpp of NVIDIA/TensorRT, the functions ``parse`` of 8.4, 8.6, 10.13 and
11.1, and in "Migrating trtexec Usage" (8.x to 10.x, 10.x to 11.x) of NVIDIA's guide. Pure functions: the
same build, the same words.

Numbers are made to be compared over versions: as trtexec 11 does by itself, the older ones are told to leave
out the copies of inputs and outputs, to replay a CUDA graph, to wait in a loop, and to time the layers in a
run of their own. Without that last one trtexec 8 and 10 print no summary and write no times where a profile
is asked for (samples/trtexec/trtexec.cpp).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from onnxcomp.deploy.trtexec.version import OLDEST, Version
from onnxcomp.errors import OnnxcompError

Shapes = Mapping[str, Sequence[int]]
GRAPH = "--useCudaGraph"
COMPARABLE = (GRAPH, "--useSpinWait", "--noDataTransfers", "--separateProfileRun")
DLA_LAST, DLA_AGAIN = Version(10, 8, 0), Version(11, 4, 1)
"""No DLA from 10.8 up to 11.4.0 ("TensorRT 10.x to 11.x", support matrices of 10.7 and 11.4.1)."""


class FlagError(OnnxcompError):
    """A wish that this version's trtexec cannot be told, or a name that its command line cannot carry."""


@dataclass(frozen=True)
class Dialect:
    """What trtexec understands, from one version on up to the next in :data:`DIALECTS`.

    Attributes:
        since: the first version.
        build_only: builds and ends, without a run.
        typed_by_options: ``--int8``, ``--fp16``, ``--calib`` and the like exist. Where they do not, the types
            in the ONNX file decide.
        levels: ``--builderOptimizationLevel`` exists.
        comparable: options that make its numbers comparable with the other versions'.
        transfers: options that make it copy inputs and outputs.
        no_graph: options that keep it from replaying a CUDA graph, which the DLA does not allow.
    """

    since: Version
    build_only: str
    typed_by_options: bool = True
    levels: bool = True
    comparable: tuple[str, ...] = COMPARABLE
    transfers: tuple[str, ...] = ()
    no_graph: tuple[str, ...] = ()


DIALECTS = (
    Dialect(OLDEST, "--buildOnly", levels=False),
    Dialect(Version(8, 6, 0), "--skipInference"),
    Dialect(
        Version(11, 0, 0),
        "--skipInference",
        typed_by_options=False,
        comparable=(),
        transfers=("--includeDataTransfers",),
        no_graph=("--noCudaGraph",),
    ),
)


@dataclass(frozen=True)
class Build:
    """An engine to be built.

    Args:
        onnx: path of the network there, where trtexec runs.
        engine: path that the engine is written to.
        int8: let layers run in INT8; where the file holds Q/DQ they say which.
        fp16: let layers run in FP16.
        sparse: try kernels for 2:4 sparse weights.
        tf32: let float32 layers use TF32, where the hardware has it.
        shapes: of the inputs that have a free dimension, by name. The engine takes exactly these.
        timing_cache: file that measured kernels are read from and added to; it need not exist yet.
        dla_core: run on this DLA, and on the GPU what it cannot; None for the GPU alone.
        calibration: file with the calibration cache, for a network without Q/DQ.
        layer_precisions: ``layer:type,layer:type`` (:func:`onnxcomp.deploy.dla.files.precisions_text`).
        workspace: most scratch memory of a layer, MiB; None for all there is.
        optimization_level: 0 to 5, more is a longer search; None for TensorRT's own (3).
    """

    onnx: str
    engine: str
    int8: bool = False
    fp16: bool = False
    sparse: bool = False
    tf32: bool = True
    shapes: Shapes = field(default_factory=dict)
    timing_cache: str | None = None
    dla_core: int | None = None
    calibration: str | None = None
    layer_precisions: str = ""
    workspace: int | None = None
    optimization_level: int | None = None


@dataclass(frozen=True)
class Measure:
    """An engine to be measured.

    Args:
        engine: path of the engine there, where trtexec runs.
        warm_up: milliseconds that do not count.
        duration: seconds that are measured, at least.
        iterations: runs that are measured, at least.
        shapes: of the inputs that have a free dimension.
        dla_core: the DLA that it was built for.
        profile: file for each layer's times; None for none.
        layers: file for each layer's types and kernel.
        times: file for each run's times.
    """

    engine: str
    warm_up: int = 500
    duration: int = 10
    iterations: int = 10
    shapes: Shapes = field(default_factory=dict)
    dla_core: int | None = None
    profile: str | None = None
    layers: str | None = None
    times: str | None = None


@dataclass(frozen=True)
class Infer:
    """One run of an engine on given inputs.

    Args:
        engine: path of the engine there, where trtexec runs.
        inputs: file with the raw values of each input, by its name.
        output: file that the outputs are written to, as JSON.
        shapes: of the inputs that have a free dimension.
        dla_core: the DLA that it was built for.
    """

    engine: str
    inputs: Mapping[str, str]
    output: str
    shapes: Shapes = field(default_factory=dict)
    dla_core: int | None = None


def dialect(version: Version) -> Dialect:
    """The options of a supported version."""
    return next(each for each in reversed(DIALECTS) if each.since <= max(version, OLDEST))


def build_words(build: Build, version: Version) -> list[str]:
    """What stands after ``trtexec`` to build an engine, and do no more.

    TensorRT 11 has no ``--int8`` and ``--fp16``: they are left out, and :func:`build_notes` says what that
    means.

    Raises:
        FlagError: this version has no DLA, no optimisation levels, or no calibration and layer precisions;
            or a name cannot be said on trtexec's command line.
    """
    known = dialect(version)
    _check_build(build, version, known)
    words = [f"--onnx={build.onnx}", f"--saveEngine={build.engine}", known.build_only]
    words += ["--profilingVerbosity=detailed"]
    if known.typed_by_options:
        words += [f"--{name}" for name in ("int8", "fp16") if getattr(build, name)]
        words += [f"--calib={build.calibration}"] if build.calibration else []
    if build.layer_precisions:
        words += ["--precisionConstraints=prefer", f"--layerPrecisions={build.layer_precisions}"]
    words += ["--sparsity=enable"] if build.sparse else []
    words += [] if build.tf32 else ["--noTF32"]
    words += _shape_words("--optShapes", build.shapes)
    words += [f"--timingCacheFile={build.timing_cache}"] if build.timing_cache else []
    words += _dla_words(build.dla_core, version)
    words += ["--allowGPUFallback"] if build.dla_core is not None else []
    words += [f"--memPoolSize=workspace:{build.workspace}"] if build.workspace is not None else []
    if build.optimization_level is not None:
        words += [f"--builderOptimizationLevel={build.optimization_level}"]
    return words


def build_notes(build: Build, version: Version) -> tuple[str, ...]:
    """What :func:`build_words` leaves out, and what that means; nothing where it leaves out nothing."""
    if dialect(version).typed_by_options:
        return ()
    notes = []
    if build.int8:
        notes += [f"TensorRT {version} has no --int8: the Q/DQ nodes in the file say what runs in INT8"]
    if build.fp16:
        notes += [f"TensorRT {version} has no --fp16: what the file holds in float32 runs in float32"]
    return tuple(notes)


def profile_words(measure: Measure, version: Version) -> list[str]:
    """What stands after ``trtexec`` to measure an engine.

    Raises:
        FlagError: this version has no DLA, or a name cannot be said on trtexec's command line.
    """
    known = dialect(version)
    words = [f"--loadEngine={measure.engine}", f"--warmUp={measure.warm_up}"]
    words += [f"--duration={measure.duration}", f"--iterations={measure.iterations}"]
    words += _shape_words("--shapes", measure.shapes)
    words += _dla_words(measure.dla_core, version)
    words += [word for word in known.comparable if measure.dla_core is None or word != GRAPH]
    words += known.no_graph if measure.dla_core is not None else ()
    exports = {"Profile": measure.profile, "LayerInfo": measure.layers, "Times": measure.times}
    words += [f"--export{name}={path}" for name, path in exports.items() if path]
    if measure.layers:
        words += ["--profilingVerbosity=detailed"]
    return words


def infer_words(infer: Infer, version: Version) -> list[str]:
    """What stands after ``trtexec`` to run an engine once on given inputs and export its outputs.

    Raises:
        FlagError: this version has no DLA, or a name or path cannot be said on trtexec's command line.
    """
    known = dialect(version)
    _check_names(infer.inputs)
    for path in infer.inputs.values():
        if set(path) & set(",:'"):
            raise FlagError("has a comma, colon or quote in its path", where=path, fix="rename it")
    spec = ",".join(f"{name}:{path}" for name, path in infer.inputs.items())
    words = [f"--loadEngine={infer.engine}", f"--loadInputs={spec}", f"--exportOutput={infer.output}"]
    words += ["--iterations=1", "--warmUp=0", "--duration=0"]
    words += _shape_words("--shapes", infer.shapes) + _dla_words(infer.dla_core, version)
    return [*words, *known.transfers, *(known.no_graph if infer.dla_core is not None else ())]


def _check_build(build: Build, version: Version, known: Dialect) -> None:
    if build.optimization_level is not None and not known.levels:
        raise FlagError(
            f"TensorRT {version} has no optimization levels", fix="leave the level out; they came with 8.6"
        )
    if not known.typed_by_options and (build.calibration or build.layer_precisions):
        raise FlagError(
            f"TensorRT {version} takes no calibration cache and no layer precisions",
            fix="give it a network with Q/DQ nodes",
        )
    if build.calibration and not build.int8:
        raise FlagError("a calibration cache is of no use without INT8", fix="allow INT8 or leave it out")


def _check_names(names: Mapping[str, object]) -> None:
    for name in names:
        if "," in name or "'" in name:
            raise FlagError(
                "trtexec cannot be told a tensor's name with a comma or a quote",
                where=name,
                fix="rename the input in the ONNX file",
            )


def _shape_words(option: str, shapes: Shapes) -> list[str]:
    _check_names(shapes)
    spec = ",".join(f"{name}:{'x'.join(str(size) for size in shape)}" for name, shape in shapes.items())
    return [f"{option}={spec}"] if spec else []


def _dla_words(core: int | None, version: Version) -> list[str]:
    if core is None:
        return []
    if DLA_LAST <= version < DLA_AGAIN:
        raise FlagError(
            f"TensorRT {version} does not support the DLA",
            fix="use TensorRT 8.5 to 10.7, or 11.4.1",
        )
    return [f"--useDLACore={core}"]
