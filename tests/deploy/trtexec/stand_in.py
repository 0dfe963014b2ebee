#!/usr/bin/env python3
"""A stand-in for TensorRT's trtexec of 8.5.2, 8.6.1, 10.3.0 or 11.1.0: its command line, log and files.

It builds nothing and measures nothing. What it prints and writes follows samples/common/sampleOptions.cpp,
sampleReporting.cpp and samples/trtexec/trtexec.cpp of NVIDIA/TensorRT, and logs that people have published
(8.5.2 on a Xavier, 10.16 and 11.0 in NVIDIA/trt-samples-for-hackathon-cn, cookbook/07-Tool/trtexec; issues
2918, 3385 and 3545 of NVIDIA/TensorRT). Standard library only: copy it, make it executable, call it trtexec.

Settings come from a JSON object in the file ``<this file>.json``, then from environment variables
``STAND_IN_<KEY>`` (text for those that are text below, else JSON):

    version     "8.5.2", "8.6.1", "10.3.0", "11.1.0"
    gpu, capability     what the device is: "Xavier", "7.2"
    fault       one of FAULTS, or none
    node        that the faults no_implementation (as long as that node reads Q/DQ) and parse are about
    delay       seconds before each line of the log
    times       milliseconds by the layer's name, instead of made-up ones
    eligible, chosen    names of nodes that are 2:4 sparse, and that run so
    answers     outputs by the SHA-256 of the input files one after the other: {"<sha>": {"logits": [..]}}
    unstable    per cent: warn of unstable clocks
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import struct
import sys
import time
import zlib

FAULTS = (
    "no_gpu", "gpu_memory", "host_memory", "no_implementation", "parse", "disk_full", "killed", "crash",
    "hang", "garbage", "truncated", "calibration",
)  # fmt: skip
DEFAULTS = {
    "version": "8.5.2", "gpu": "Xavier", "capability": "7.2", "fault": "", "node": "", "delay": 0,
    "times": {}, "eligible": [], "chosen": [], "answers": {}, "unstable": 0,
}  # fmt: skip
MAGIC = b"a stand-in's engine\n"

# Names of options by the versions that know them: since, and before.
OPTIONS = {
    ((8, 5), (99,)): """
        --onnx --minShapes --optShapes --maxShapes --inputIOFormats --outputIOFormats --memPoolSize
        --avgTiming --sparsity
        --profilingVerbosity --loadEngine --saveEngine --tacticSources --timingCacheFile --preview
        --device --useDLACore --iterations --duration --warmUp --sleepTime --idleTime --loadInputs --shapes
        --percentile --avgRuns --exportTimes --exportOutput --exportProfile --exportLayerInfo --streams
        --persistentCacheRatio --plugins --layerDeviceTypes --refit --noTF32 --safe --allowGPUFallback
        --directIO --consistency --restricted --noBuilderCache --exposeDMA --noDataTransfers
        --useManagedMemory --useSpinWait --threads --useCudaGraph --separateProfileRun --timeDeserialize
        --timeRefit --verbose --dumpRefit --dumpOutput --dumpProfile --dumpLayerInfo""",
    ((8, 5), (11,)): """
        --int8 --fp16 --best --calib --precisionConstraints --layerPrecisions --layerOutputTypes
        --minShapesCalib --optShapesCalib --maxShapesCalib""",
    ((8, 5), (10,)): """
        --buildOnly --workspace --minTiming --maxBatch --batch --explicitBatch --explicitPrecision --heuristic
        --nvtxMode""",
    ((8, 6), (99,)): """
        --skipInference --builderOptimizationLevel --maxAuxStreams --versionCompatible --vc
        --hardwareCompatibilityLevel --excludeLeanRuntime --useRuntime --leanDLLPath --tempdir
        --tempfileControls --infStreams --staticPlugins --dynamicPlugins --setPluginsToSerialize
        --ignoreParsedPluginLibs --buildDLAStandalone --dumpRawBindingsToFile""",
    ((8, 6), (11,)): "--fp8",
    ((10,), (11,)): "--bf16 --int4",
    ((10,), (99,)): """
        --stronglyTyped --errorOnTimingCacheMiss --getPlanVersionOnly --stripWeights --stripAllWeights
        --pluginInstanceNorm --pi --useProfile --allocationStrategy --maxTactics --runtimePlatform
        --noCompilationCache --monitorMemory --dumpOptimizationProfile --allowWeightStreaming
        --weightStreamingBudget --markDebug --saveDebugTensors""",
    ((11,), (99,)): """
        --includeDataTransfers --noCudaGraph --noSpinWait --loadRefOutputs --accuracyAlgorithm --atol --rtol
        --accuracyThreshold --refPair --cpuOnly""",
}
NUMBERS = (
    "--iterations",
    "--duration",
    "--warmUp",
    "--avgRuns",
    "--useDLACore",
    "--builderOptimizationLevel",
)


# What several places say, or what is too long for the line that says it.
PARSE_FAILED = (
    "Failed to parse onnx file",
    "Parsing model failed",
    "Failed to create engine from model or file.",
    "Engine set up failed",
)
BUILD_FAILED = ("Engine could not be created from network", "Building engine failed", *PARSE_FAILED[2:])
LOAD_FAILED = (
    "Error[4]: [runtime.cpp::deserializeCudaEngine::66] Error Code 4: Internal Error "
    "(Engine deserialization failed.)",
    "Engine deserialization failed",
    "Got invalid engine!",
    "Inference set up failed",
)
SAVE_FAILED = ("Saving engine to file failed.", "Engine set up failed")
EXPLICIT = (
    "Calibrator won't be used in explicit precision mode. Use quantization aware training to "
    "generate network with Quantize/Dequantize nodes."
)
MADE_UP = (
    "Calibrator is not being used. Users must provide dynamic range for all tensors that are not Int32 "
    "or Bool."
)
UNCALIBRATED = (
    "Error[4]: [standardEngineBuilder.cpp::initCalibrationParams::1460] Error Code 4: Internal Error "
    "(Calibration failure occurred with no scaling factors detected. This could be due to no int8 calibrator)"
)
TOO_LARGE = (
    "Requested amount of GPU memory (4294967296 bytes) could not be allocated. There may not be enough free "
    "memory for allocation to succeed."
)
OUT_OF_MEMORY = (
    "Error[2]: [virtualMemoryBuffer.cpp::resizePhysical::160] Error Code 2: OutOfMemory "
    "(no further information)"
)
SERIALIZATION = (
    "Error[1]: [stdArchiveReader.cpp::StdArchiveReader::32] Error Code 1: Serialization "
    "(Serialization assertion {} failed.{})"
)
OTHER_TAG = "Version tag does not match. Note: Current Version: 232, Serialized Engine Version: 236"
OTHER_VERSION = (
    "Error[6]: The engine plan file is not compatible with this version of TensorRT, expecting "
    "library version {} got {}, please rebuild."
)
OTHER_GPU = (
    "Error[6]: The engine plan file is generated on an incompatible device, expecting compute {} got compute "
    "{}, please rebuild."
)
BAD_SIZE = (
    "Uncaught exception detected: Unexpected file size for input file: {}. Note: Input binding size "
    "is: {} bytes but the file size is {} bytes. Double check the size and datatype of the provided data."
)
NOT_REPORTED = (
    "The e2e network timing is not reported since it is inaccurate due to the extra "
    "synchronizations when the profiler is enabled.",
    "To show e2e network timing report, add --separateProfileRun to profile layer timing in a "
    "separate run or remove --dumpProfile to disable the profiler.",
)
UNSTABLE = (
    "* GPU compute time is unstable, with coefficient of variance = {:g}%.",
    "  If not already in use, locking GPU clock frequency or adding --useSpinWait may improve the stability.",
)
FORMATS = {
    "INT8": ("Thirty-two wide channel vectorized row major Int8 format", "Int8"),
    "FP16": ("Channel major FP16 format where channel % 8 == 0", "Half"),
    "FP32": ("Row major linear FP32", "Float"),
}


def known_options(version):
    """The options that this version's trtexec understands."""
    kept = [names for (since, before), names in OPTIONS.items() if since <= version < before]
    return {name for names in kept for name in names.split()}


class RefusedError(Exception):
    """Lines for stderr; trtexec then says FAILED and exits with 1."""


class Log:
    """What trtexec prints: notes on stdout, warnings and errors on stderr (logger.h, ``severityOstream``)."""

    def __init__(self, settings, arguments):
        self.delay = float(settings["delay"])
        version = parse_version(settings["version"])
        number = version[0] * (1000 if version[0] < 10 else 10000) + version[1] * 100 + version[2]
        build = " [b106]" if version >= (10, 4) else ""
        self.tail = f"TensorRT.trtexec [TensorRT v{number}]{build} # {' '.join(arguments)}"

    def raw(self, text, stream=None):
        time.sleep(self.delay)
        print(text, file=stream or sys.stdout, flush=True)

    def banner(self, word):
        self.raw(f"&&&& {word} {self.tail}")

    def line(self, letter, text):
        stamp = time.strftime("%m/%d/%Y-%H:%M:%S")
        self.raw(f"[{stamp}] [{letter}] {text}", sys.stderr if letter in "WE" else sys.stdout)

    def info(self, text=""):
        self.line("I", text)

    def trt(self, text, letter="I"):
        self.line(letter, "[TRT] " + text)


def parse_version(text):
    return tuple(int(part) for part in text.split("."))


def load_settings(path):
    """The file beside the script, then the environment."""
    settings = dict(DEFAULTS)
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            settings.update(json.load(file))
    for key, default in DEFAULTS.items():
        given = os.environ.get("STAND_IN_" + key.upper())
        if given is not None:
            settings[key] = given if isinstance(default, str) else json.loads(given)
    unknown = {*settings} - {*DEFAULTS} or {settings["fault"]} - {*FAULTS, ""}
    if unknown:
        raise SystemExit(f"stand-in: no such setting: {unknown}")
    return settings


# The command line


def parse_options(words, version):
    """The options by name; an unknown one, or a known one said twice, is refused as "
    "sampleOptions.cpp does."""
    given, unknown, known = {}, [], known_options(version)
    for word in words:
        name, _, value = word.partition("=")
        if name in given or name not in known:
            unknown.append(f"Unknown option: {name} {value}")
        else:
            given[name] = value
    for name in NUMBERS:
        if name in given and not given[name].lstrip("-").isdigit():
            raise RefusedError("stoi")
    if unknown:
        raise RefusedError(*unknown)
    if "--loadEngine" in given and "--saveEngine" in given:
        raise RefusedError("Incompatible load and save engine options selected")
    if "--loadEngine" not in given and not given.get("--onnx"):
        raise RefusedError("Model missing or format not recognized")
    return given


def help_text(version):
    """Every option, a line each, as ``--help`` lists them."""
    lines = ["=== Model Options ===", "  --onnx=<file>               ONNX model", "", "=== Build Options ==="]
    return "\n".join(lines + ["  " + name for name in sorted(known_options(version) - {"--onnx"})])


# The ONNX file: as much of protobuf as is needed


def fields(data):
    """(number, value) of a message: bytes of a length-delimited field, an integer of a varint."""
    at, end, found = 0, len(data), []
    while at < end:
        key, at = varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind == 2:
            size, at = varint(data, at)
            if at + size > end:
                raise ValueError("cut off")
            value, at = data[at : at + size], at + size
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = data[at : at + size], at + size
        else:
            raise ValueError("no protobuf")
        found.append((key >> 3, value))
    return found


def varint(data, at):
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("cut off")
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def read_onnx(path):
    """Nodes, the names of the initializers, and the inputs and outputs with their sizes (-1: free)."""
    with open(path, "rb") as file:
        model = fields(memoryview(file.read()))
    (graph,) = [value for number, value in model if number == 7]
    nodes: list = []
    weights: set = set()
    inputs: list = []
    outputs: list = []
    for number, value in fields(graph):
        if number == 1:
            nodes.append(read_node(value))
        elif number == 5:
            weights.update(text(part) for key, part in fields(value) if key == 8)
        elif number in (11, 12):
            (inputs if number == 11 else outputs).append(read_tensor(value))
    return nodes, weights, [each for each in inputs if each[0] not in weights], outputs


def text(value):
    return bytes(value).decode("utf-8")


def read_node(data):
    parts = fields(data)
    node = {"inputs": [text(v) for n, v in parts if n == 1], "outputs": [text(v) for n, v in parts if n == 2]}
    names, kinds = [text(v) for n, v in parts if n == 3], [text(v) for n, v in parts if n == 4]
    node["name"] = names[0] if names and names[0] else "node_of_" + node["outputs"][0]
    node["type"] = kinds[0]
    return node


def read_tensor(data):
    parts = dict(fields(data))
    shape, element = [], 1
    for number, value in fields(parts.get(2, b"")):
        for key, part in fields(value) if number == 1 else ():
            if key == 1:
                element = part
            elif key == 2:
                sizes = [dict(fields(size)) for _, size in fields(part)]
                shape = [size.get(1, -1) for size in sizes]
    return text(parts[1]), shape, element


# Building


def fuse(nodes, weights, settings, given, version):
    """Layers as TensorRT might fuse them: weight and its Q, convolution, then what follows it alone."""
    maker = {name: node for node in nodes for name in node["outputs"]}
    readers: dict = {}
    for node in nodes:
        for name in node["inputs"]:
            readers.setdefault(name, []).append(node)
    used: set = set()
    layers = []
    int8 = "--int8" in given or "--best" in given or version >= (11,)
    other = "FP16" if "--fp16" in given or "--best" in given else "FP32"
    for node in nodes:
        if id(node) in used or node["type"] in ("Constant", "DequantizeLinear"):
            continue
        if node["type"] == "QuantizeLinear":
            if node["inputs"][0] not in maker and node["inputs"][0] not in weights:
                layers.append(layer_of([node["name"]], [node], "Reformat", "INT8", settings))
            continue
        parts, chain = [], [node]
        if node["type"] in ("Conv", "Gemm", "MatMul", "ConvTranspose"):
            parts, chain = weight_parts(node, maker), follow(node, readers, used)
        used.update(id(each) for each in chain)
        precision = "INT8" if int8 and "DequantizeLinear" in makers(node, maker)[:1] else other
        names = parts + [each["name"] for each in chain]
        layers.append(layer_of(names, chain, KINDS.get(node["type"], "PointWise"), precision, settings))
    return layers


KINDS = {
    "Conv": "CaskConvolution", "Gemm": "MatrixMultiply", "MatMul": "MatrixMultiply", "Flatten": "NoOp",
    "Reshape": "NoOp", "Concat": "NoOp", "MaxPool": "CaskPooling", "AveragePool": "CaskPooling",
}  # fmt: skip


def makers(node, maker):
    """Types of the nodes that make its inputs, "" for what no node makes."""
    return [maker[name]["type"] if name in maker else "" for name in node["inputs"]]


def weight_parts(node, maker):
    """Name of the quantized weight and of its Q, which TensorRT puts before the convolution's name."""
    parts = []
    for name in node["inputs"][1:2]:
        for kind in ("DequantizeLinear", "QuantizeLinear"):
            if name in maker and maker[name]["type"] == kind:
                made = maker[name]
                name = made["inputs"][0]
                if kind == "QuantizeLinear":
                    parts = [name, made["name"]]
    return parts


def follow(node, readers, used):
    chain = [node]
    while True:
        after = readers.get(chain[-1]["outputs"][0], [])
        if len(after) != 1 or after[0]["type"] not in ("Relu", "Clip", "BatchNormalization", "Add"):
            return chain
        if id(after[0]) in used or after[0] in chain:
            return chain
        chain.append(after[0])


def layer_of(parts, chain, kind, precision, settings):
    name = " + ".join(parts)
    sparse = [each for each in ("eligible", "chosen") if any(n["name"] in settings[each] for n in chain)]
    ms = settings["times"].get(name)
    if ms is None:
        ms = 0.01 + zlib.crc32(name.encode()) % 1000 / 10000
        ms *= {"INT8": 0.5, "FP16": 0.7}.get(precision, 1) * (0.8 if "chosen" in sparse else 1)
    return {
        "name": name, "nodes": [each["name"] for each in chain], "kind": kind, "precision": precision,
        "ms": ms, "sparse": sparse, "inputs": chain[0]["inputs"][:1], "outputs": chain[-1]["outputs"][:1],
    }  # fmt: skip


def build(log, given, settings, version):
    """The engine, as a dictionary, written where ``--saveEngine`` says."""
    fault, path, cache = settings["fault"], given["--onnx"], given.get("--timingCacheFile")
    log.trt("[MemUsageChange] Init CUDA: CPU +1, GPU +0, now: CPU 30, GPU 1645 (MiB)")
    if fault == "host_memory":
        raise RefusedError("Uncaught exception detected: std::bad_alloc")
    log.info("Start parsing network model.")
    nodes, weights, inputs, outputs = parse_model(log, path, settings)
    parsed = "Finished parsing network model. Parse time: 0.0166492"
    log.info(parsed if version >= (8, 6) else "Finish parsing network model")
    calibrate(log, given, nodes, fault)
    stored = ("Global", "will be stored") if cache else ("Local", "will not be stored")
    log.trt("{} timing cache in use. Profiling results in this builder pass {}.".format(*stored))
    layers = fuse(nodes, weights, settings, given, version)
    for layer in layers if "--verbose" in given else ():
        log.trt(f"--------------- Timing Runner: {layer['name']} ({layer['kind']})", "V")
    break_build(log, layers, nodes, settings, version)
    log.trt(f"Detected {len(inputs)} inputs and {len(outputs)} output network tensors.")
    log.trt("Total Host Persistent Memory: 68384")
    log.trt("Total Device Persistent Memory: 28160")
    sparse_lines(log, given, layers, version)
    if version >= (8, 6):
        log.info("Created engine with size: 0.239849 MiB")
    log.info("Engine built in 6.197 sec.")
    shapes = dict(parse_shapes(given))
    engine = {
        "version": settings["version"], "capability": settings["capability"], "layers": layers,
        "detailed": given.get("--profilingVerbosity") == "detailed", "outputs": outputs,
        "inputs": [(name, fix(shape, shapes.get(name)), element) for name, shape, element in inputs],
        "flags": sorted({*given} - {"--onnx", "--saveEngine", "--timingCacheFile"}),
    }  # fmt: skip
    if given.get("--saveEngine"):
        save(given["--saveEngine"], MAGIC + json.dumps(engine).encode() + bytes(1 << 16), fault)
    if cache:
        with open(cache, "ab") as file:
            file.write(b"a stand-in's timing cache\n")
    log.trt("Loaded engine size: 28 MiB")
    log.info("Engine deserialized in 0.0115351 sec.")
    return engine


def parse_shapes(given):
    for option in ("--optShapes", "--shapes"):
        for entry in filter(None, given.get(option, "").split(",")):
            name, _, dims = entry.rpartition(":")
            yield name.replace("'", ""), [int(size) for size in dims.split("x")]


def fix(shape, given):
    """trtexec sets a free dimension to 1 where no shape is given."""
    return given or [1 if size < 0 else size for size in shape]


def parse_model(log, path, settings):
    try:
        found = read_onnx(path)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, OSError):
            log.raw(f"Could not open file {path}", sys.stderr)
        log.trt(f"ModelImporter.cpp:688: Failed to parse ONNX model from file: {path}", "E")
        raise RefusedError(*PARSE_FAILED) from error
    for number, node in enumerate(found[0]):
        if settings["fault"] == "parse" and node["name"] == settings["node"]:
            where = f'While parsing node number {number} [{node["type"]} -> "{node["outputs"][0]}"]:'
            log.trt("ModelImporter.cpp:726: " + where, "E")
            log.trt("ModelImporter.cpp:727: --- Begin node ---", "E")
            read = "".join(f'input: "{name}"\n' for name in node["inputs"])
            log.trt(f'ModelImporter.cpp:728: {read}name: "{node["name"]}"\nop_type: "{node["type"]}"\n', "E")
            log.trt("ModelImporter.cpp:729: --- End node ---", "E")
            place = "builtin_op_importers.cpp:1216 In function QuantDequantLinearHelper:"
            log.trt(f"ModelImporter.cpp:732: ERROR: {place}\n[6] Assertion failed: scaleAllPositive", "E")
            raise RefusedError(*PARSE_FAILED)
    return found


def calibrate(log, given, nodes, fault):
    """Without a cache trtexec calibrates on noise, and says no word of it (sampleEngines.cpp)."""
    if "--int8" not in given:
        return
    if any(node["type"] == "QuantizeLinear" for node in nodes):
        log.trt(EXPLICIT, "W")
    elif fault == "calibration":
        raise RefusedError(UNCALIBRATED, *BUILD_FAILED)
    elif "--calib" not in given:
        log.trt(MADE_UP, "W")
    elif not os.path.exists(given["--calib"]):
        log.trt("Starting Calibration.")
        log.trt("Calibration completed in 2.1 seconds.")


def break_build(log, layers, nodes, settings, version):
    fault = settings["fault"]
    if fault == "hang":
        time.sleep(3600)
    if fault in ("killed", "crash"):
        os.kill(os.getpid(), signal.SIGKILL if fault == "killed" else signal.SIGSEGV)
    if fault == "gpu_memory":
        log.trt(TOO_LARGE, "W")
        raise RefusedError(OUT_OF_MEMORY, *BUILD_FAILED)
    name = stubborn(layers, nodes, settings["node"]) if fault == "no_implementation" else None
    if name:
        old = version < (10,)
        where = "[optimizer.cpp::computeCosts::3728]" if old else "IBuilder::buildSerializedNetwork:"
        cause = f"Internal Error (Could not find any implementation for node {name}.)"
        lines = [f"Error[10]: {where} Error Code 10: {cause}"]
        if old:
            where = "[builder.cpp::buildSerializedNetwork::751] Error Code 2: Internal Error"
            lines.append(f"Error[2]: {where} (Assertion engine != nullptr failed. )")
        raise RefusedError(*lines, *BUILD_FAILED)


def stubborn(layers, nodes, name):
    """Name of the layer that holds the node ``name``, while that node reads from a Q/DQ."""
    maker = {output: node for node in nodes for output in node["outputs"]}
    reads = any(node["name"] == name and "DequantizeLinear" in makers(node, maker) for node in nodes)
    return next((layer["name"] for layer in layers if reads and name in layer["nodes"]), None)


def sparse_lines(log, given, layers, version):
    if given.get("--sparsity") not in ("enable", "force"):
        return
    eligible = [layer["name"] for layer in layers if layer["sparse"]]
    chosen = [layer["name"] for layer in layers if "chosen" in layer["sparse"]]
    if version < (10,):
        log.trt("(Sparsity) Layers eligible for sparse math: " + ", ".join(eligible))
        log.trt("(Sparsity) TRT inference plan picked sparse implementation for layers: " + ", ".join(chosen))
        return
    for verb, what, names in (("Found", "eligible to use", eligible), ("Chose", "using", chosen)):
        shown = ": " + ", ".join(names) if names and "--verbose" in given else ""
        log.trt(f"(Sparsity) {verb} {len(names)} layer(s) {what} sparse tactics{shown}")


def save(path, data, fault):
    """Written in place, as trtexec does: a full disk leaves a part of the file."""
    try:
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2] if fault == "disk_full" else data)
    except OSError as error:
        raise RefusedError(*SAVE_FAILED) from error
    if fault == "disk_full":
        raise RefusedError(*SAVE_FAILED)


def load(log, path, settings, version):
    """The engine in a file; what is no engine, or one of another version or GPU, is refused."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise RefusedError("Error opening engine file: " + path, "Engine set up failed") from error
    log.info("Engine loaded in 0.0366376 sec.")
    log.trt(f"Loaded engine size: {len(data) >> 20} MiB")
    if not data.startswith(MAGIC):
        cause = SERIALIZATION.format("magicTagRead == kMAGIC_TAG", "Magic tag does not match")
        raise RefusedError(cause, *LOAD_FAILED)
    try:
        engine = json.loads(data[len(MAGIC) :].rstrip(b"\0"))
    except ValueError as error:
        raise RefusedError(SERIALIZATION.format("position <= size", ""), *LOAD_FAILED) from error
    if engine["version"] != settings["version"]:
        cause = OTHER_VERSION.format(settings["version"], engine["version"])
        if version < (8, 6):
            cause = SERIALIZATION.format("stdVersionRead == serializationVersion", OTHER_TAG)
        raise RefusedError(cause, *LOAD_FAILED)
    if engine["capability"] != settings["capability"]:
        raise RefusedError(OTHER_GPU.format(settings["capability"], engine["capability"]), *LOAD_FAILED)
    log.info("Engine deserialized in 1.89224 sec.")
    return engine


# Running


def infer(log, engine, given, settings, version):
    shapes = dict(parse_shapes(given))
    inputs = [(name, shapes.get(name, dims), element) for name, dims, element in engine["inputs"]]
    digest, samples = load_inputs(log, inputs, given)
    batch = inputs[0][1][0] if inputs and inputs[0][1] else 1
    log.info("Starting inference")
    if settings["fault"] == "hang":
        time.sleep(3600)
    if settings["fault"] == "gpu_memory":
        cause = "Error[1]: [defaultAllocator.cpp::allocate::20] Error Code 1: Cuda Runtime (out of memory)"
        raise RefusedError(cause, "Error occurred during inference")
    profiled = "--dumpProfile" in given or bool(given.get("--exportProfile"))
    traces = trace(engine, given, version)
    if profiled and "--separateProfileRun" not in given and version < (11,):
        for text in NOT_REPORTED:
            log.info(text)
    else:
        summary(log, traces, given, settings)
        export(given.get("--exportTimes"), times_text(traces), settings)
    export(given.get("--exportOutput"), output_text(engine, batch, samples, digest, settings), settings)
    if profiled:
        log.info(f"=== Profile ({len(traces)} iterations ) ===")
        export(given.get("--exportProfile"), profile_text(engine, len(traces)), settings)


def load_inputs(log, inputs, given):
    """SHA-256 of all input files, and the values of each input."""
    files = dict(entry.rsplit(":", 1) for entry in filter(None, given.get("--loadInputs", "").split(",")))
    digest, samples = hashlib.sha256(), {}
    for name, dims, element in inputs:
        if name not in files:
            log.info("Using random values for input " + name)
            samples[name] = [0.5] * max(dims[0] if dims else 1, 1)
            continue
        log.info(f"Using values loaded from {files[name]} for input {name}")
        size = 4 * math.prod(dims) if element != 7 else 8 * math.prod(dims)
        try:
            with open(files[name], "rb") as file:
                data = file.read()
        except OSError as error:
            raise RefusedError(f"Uncaught exception detected: Cannot open file {files[name]}!") from error
        if len(data) != size:
            raise RefusedError(BAD_SIZE.format(files[name], size, len(data)))
        digest.update(data)
        values = struct.unpack(f"<{math.prod(dims)}{'q' if element == 7 else 'f'}", data)
        each = max(len(values) // dims[0], 1)
        samples[name] = [sum(values[at : at + each]) / each for at in range(0, len(values), each)]
    return digest.hexdigest(), samples


def formula(means, size):
    """Where no answer is given: value k of a sample is sin(k + 1) times the sum of its inputs' means."""
    sums = [sum(each[at] for each in means) for at in range(min(map(len, means), default=0))]
    return [[math.sin(k + 1) * total for k in range(size)] for total in sums]


def output_text(engine, batch, samples, digest, settings):
    """JSON as exportJSONOutput writes it: six digits, and nan and inf as C++ prints them."""
    entries, answers = [], settings["answers"].get(digest, {})
    for name, shape, _ in engine["outputs"]:
        dims = [batch if at == 0 and size < 0 else max(size, 1) for at, size in enumerate(shape)]
        rows = formula(list(samples.values()), math.prod(dims) // max(dims[0] if dims else 1, 1))
        values = answers.get(name, [value for row in rows for value in row])
        dimensions = "x".join(map(str, dims))
        head = f'{{ "name" : "{name}"\n  , "dimensions" : "{dimensions}"\n  , "values" : [ '
        entries.append(head + ", ".join(f"{value:g}" for value in values) + " ]\n  }")
    return "[\n  " + "\n, ".join(entries) + "\n]\n"


def trace(engine, given, version):
    """Made-up runs: H2D, compute and D2H of each, in milliseconds."""
    compute = 0.9 * sum(layer["ms"] for layer in engine["layers"]) or 0.01
    moved = "--includeDataTransfers" in given if version >= (11,) else "--noDataTransfers" not in given
    wish = max(int(given.get("--iterations", 10)), int(float(given.get("--duration", 3)) * 1000 / compute))
    at, traces = 200.0, []
    for count in range(min(max(wish, 1), 400)):
        h2d, d2h = (0.01, 0.005) if moved else (0.0, 0.0)
        ran = compute * (1.02 + 0.02 * math.sin(count))
        traces.append((at, h2d, ran, d2h))
        at += h2d + ran + d2h + 0.002
    return traces


def summary(log, traces, given, settings):
    walltime = (traces[-1][0] + sum(traces[-1][1:]) - traces[0][0]) / 1000
    columns = {
        "Latency": [sum(each[1:]) for each in traces],
        "Enqueue Time": [0.03] * len(traces),
        "H2D Latency": [each[1] for each in traces],
        "GPU Compute Time": [each[2] for each in traces],
        "D2H Latency": [each[3] for each in traces],
    }
    log.info(f"Warmup completed 512 queries over {given.get('--warmUp', '200')} ms")
    log.info(f"Timing trace has {len(traces)} queries over {walltime:g} s")
    log.info()
    log.info("=== Trace details ===")
    log.info("Trace averages of 10 runs:")
    gpu, host = columns["GPU Compute Time"], columns["Latency"]
    log.info(
        f"Average on 10 runs - GPU latency: {gpu[0]:g} ms - Host latency: {host[0]:g} ms (enqueue 0.03 ms)"
    )
    log.info()
    log.info("=== Performance summary ===")
    log.info(f"Throughput: {len(traces) / walltime:g} qps")
    percents = [float(each) for each in given.get("--percentile", "90,95,99").split(",")]
    for name, values in columns.items():
        log.info(f"{name}: {statistics(sorted(values), percents)}")
    log.info(f"Total Host Walltime: {walltime:g} s")
    log.info(f"Total GPU Compute Time: {sum(gpu) / 1000:g} s")
    for text in UNSTABLE if settings["unstable"] else ():
        log.line("W", text.format(settings["unstable"]))
    log.info("Explanations of the performance metrics are printed in the verbose logs.")
    log.info()


def statistics(values, percents):
    middle = len(values) // 2
    median = values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2
    found = [("min", values[0]), ("max", values[-1]), ("mean", sum(values) / len(values)), ("median", median)]
    for percent in percents:
        at = max(len(values) - 1 - int((1 - percent / 100) * len(values)), 0)
        found.append((f"percentile({percent:g}%)", values[at]))
    return ", ".join("{} = {:g} ms".format(*each) for each in found)


def times_text(traces):
    rows = []
    for at, h2d, compute, d2h in traces:
        starts = {
            "Enq": (at, 0.03),
            "H2d": (at, h2d),
            "Compute": (at + h2d, compute),
            "D2h": (at + h2d + compute, d2h),
        }
        row = {}
        for name, (start, length) in starts.items():
            row.update({f"start{name}Ms": start, f"end{name}Ms": start + length})
        row.update({"h2dMs": h2d, "computeMs": compute, "d2hMs": d2h, "latencyMs": h2d + compute + d2h})
        rows.append("{ " + ", ".join(f'"{name}" : {value:g}' for name, value in row.items()) + " }\n")
    return "[\n  " + ", ".join(rows) + "]\n"


def profile_text(engine, count):
    """Names are not escaped, as in sampleReporting.cpp."""
    total = sum(layer["ms"] for layer in engine["layers"]) or 1
    rows = [f'  {{ "count" : {count} }}\n']
    for layer in engine["layers"]:
        ms = layer["ms"]
        row = {"timeMs": ms * count, "averageMs": ms, "medianMs": ms, "percentage": 100 * ms / total}
        numbers = "".join(f', "{name}" : {value:g}' for name, value in row.items())
        rows.append(f', {{ "name" : "{layer["name"]}"{numbers} }}\n')
    return "[\n" + "".join(rows) + "]\n"


def layers_text(engine, version):
    """IEngineInspector's JSON: objects, or plain names where the engine was not built as "detailed"."""
    layers = [layer_info(layer, version) for layer in engine["layers"]]
    if not engine["detailed"]:
        layers = [layer["Name"] for layer in layers]
    if version < (11,):
        names = [name for name, _, _ in [*engine["inputs"], *engine["outputs"]]]
        return json.dumps({"Layers": layers, "Bindings": names}, indent=1)
    io = [
        {"Name": name, "IOMode": mode, "DataType": "FP32", "Dimensions": shape, "Location": "DEVICE",
         "IsShapeInferenceIO": False, "ProfileInfo": []}
        for mode in ("INPUT", "OUTPUT")
        for name, shape, _ in engine[mode.lower() + "s"]
    ]  # fmt: skip
    return json.dumps({"Layers": layers, "I/O Tensors": io}, indent=1)


def tensor_info(name, precision, version):
    entry = {"Name": name, "Location": "Device", "Dimensions": [1, 32, 8, 8]}
    joined, element = FORMATS[precision]
    split = {"Format": joined, "DataType": element}
    return {**entry, **(split if version >= (11,) else {"Format/Datatype": joined})}


def layer_info(layer, version):
    precision = layer["precision"]
    info = {"Name": layer["name"], "LayerType": layer["kind"]}
    for side in ("Inputs", "Outputs"):
        info[side] = [tensor_info(name, precision, version) for name in layer[side.lower()]]
    if layer["kind"] == "CaskConvolution":
        info.update({"ParameterType": "Convolution", "HasSparseWeights": int(bool(layer["sparse"]))})
        info["Weights"] = {"Type": FORMATS[precision][1], "Count": 64}
        sparse = "sparse" if "chosen" in layer["sparse"] else "implicit_gemm"
        info["TacticName"] = f"sm80_xmma_fprop_{sparse}_{precision.lower()}"
    elif layer["kind"] == "Reformat":
        info.update({"ParameterType": "Reformat", "Origin": "QDQ"})
    info["TacticValue"] = f"0x{zlib.crc32(layer['name'].encode()):016x}"
    if version >= (8, 6):
        info["Metadata"] = "\x1e".join(f"[ONNX Layer: {name}]" for name in layer["nodes"])
    return info


def export(path, content, settings):
    """Like std::ofstream: a file that cannot be opened is passed over without a word."""
    if not path:
        return
    if settings["fault"] == "garbage":
        content = "\x00\xffno JSON {{{"
    elif settings["fault"] == "truncated":
        content = content[: len(content) // 2]
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
    except OSError:
        return


def describe(log, given, settings, version):
    """The options and the device, as trtexec repeats them."""
    log.info("=== Model Options ===")
    log.info("Format: " + ("ONNX" if "--onnx" in given else "*"))
    log.info("Model: " + given.get("--onnx", ""))
    log.info("=== Build Options ===")
    weak = "FP32" + "".join("+" + name[2:].upper() for name in ("--fp16", "--int8") if name in given)
    log.info("Precision: " + (weak if version < (11,) else "Strongly Typed"))
    log.info("=== Inference Options ===")
    new = version >= (11,)
    moved = "--includeDataTransfers" in given if new else "--noDataTransfers" not in given
    graph = "--noCudaGraph" not in given if new else "--useCudaGraph" in given
    log.info("Data transfers: " + ("Enabled" if moved else "Disabled"))
    log.info("CUDA Graph: " + ("Enabled" if graph else "Disabled"))
    log.info("=== Device Information ===")
    if settings["fault"] == "no_gpu":
        log.raw("Cuda failure: no CUDA-capable device is detected", sys.stderr)
        os.abort()
    log.info("Selected Device: " + settings["gpu"])
    log.info("Compute Capability: " + settings["capability"])
    log.info()
    log.info("TensorRT version: " + settings["version"])


def run(log, words, settings, version):
    given = parse_options(words, version)
    if "--buildOnly" in given and version >= (8, 6):
        log.line("W", "--buildOnly flag has been deprecated by --skipInference flag.")
    describe(log, given, settings, version)
    if "--loadEngine" in given:
        engine = load(log, given["--loadEngine"], settings, version)
    else:
        engine = build(log, given, settings, version)
    skip = next((name for name in ("--skipInference", "--buildOnly") if name in given), None)
    if given.get("--exportLayerInfo"):
        export(given["--exportLayerInfo"], layers_text(engine, version), settings)
    if skip:
        log.info(f"Skipped inference phase since {skip if version < (8, 6) else '--skipInference'} is added.")
    else:
        infer(log, engine, given, settings, version)


def main(script, words):
    settings = load_settings(script + ".json")
    version = parse_version(settings["version"])
    log = Log(settings, [script, *words])
    log.banner("RUNNING")
    if not words or "--help" in words or "-h" in words:
        log.raw(help_text(version))
        return 0
    try:
        run(log, words, settings, version)
    except RefusedError as failure:
        if failure.args[0].startswith(("Unknown option", "stoi", "Incompatible", "Model missing")):
            log.raw(help_text(version))
        for line in failure.args:
            log.line("E", line)
        log.banner("FAILED")
        return 1
    log.banner("PASSED")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[0], sys.argv[1:]))
