"""What ptq.py compares: environments as pip's requirements, and the exact settings of each row.

torch needs an index with builds for the CPU, given to pip as any other (PIP_EXTRA_INDEX_URL, pip.conf).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

TORCH = "torch==2.13.0+cpu"
ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    # Also measures all files.
    "ort": ("onnxruntime==1.31.1", "onnx==1.23.2", "numpy==2.4.6", "sympy==1.14.0"),
    "onnxsim": ("onnxsim==0.8.1", "onnxruntime==1.31.1", "onnx==1.23.2", "numpy==2.4.6"),
    "nncf": ("nncf==3.4.0", "onnx", "onnxruntime==1.31.1", "openvino"),
    "inc": (
        "neural-compressor==2.6",
        "onnx==1.16.2",
        "onnxruntime==1.18.1",
        "numpy==1.26.4",
        "protobuf<5",
        "six",
        "setuptools==70.3.0",
    ),
    "onc": (
        "onnx-neural-compressor==1.0",
        "onnx==1.16.2",
        "onnxruntime==1.18.1",
        "numpy==1.26.4",
        "protobuf<5",
        "prettytable",
        "scipy",
        "setuptools==70.3.0",
    ),
    "modelopt": ("nvidia-modelopt[onnx]==0.47.0", TORCH),
    "quark": ("amd-quark==0.13", TORCH, "onnxruntime==1.31.1"),
    # Its own torch would be one for CUDA.
    "aimet": ("aimet-onnx==2.42.0", TORCH, "torchvision==0.28.0", "onnxruntime==1.31.1"),
    "ppq": (
        "ppq==0.6.6",
        TORCH,
        "protobuf==3.20.3",
        "onnx==1.14.1",
        "numpy==1.24.4",
        "onnxruntime==1.16.3",
    ),
}


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: unique; ``--only`` matches it.
        tool: of ptq_worker.py.
        environment: of :data:`ENVIRONMENTS`; ``""`` for the one ptq.py runs in.
        settings: what the tool is told beyond its defaults.
        left_out: why the row is not run.
    """

    name: str
    tool: str
    environment: str
    settings: dict[str, Any] = field(default_factory=dict)
    left_out: str = ""


REPAIRS = {
    "equalize": "true",
    "rounding": "adaround",
    "bias_correction": "true",
    "reestimate_bn": "true",
}
# ONNX Runtime's options that keep TensorRT's rules: its documentation of the TensorRT execution provider
# and of quantize_static's extra_options.
FOR_TENSORRT: dict[str, Any] = {
    "per_channel": True,
    "op_types_to_quantize": ["Conv", "Gemm"],
    "extra_options": {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "AddQDQPairToWeight": True,
        "DedicatedQDQPair": False,
        "OpTypesToExcludeOutputQuantization": ["Conv", "Gemm"],
    },
}


def _onnxcomp(name: str, target: str, **settings: str) -> Row:
    return Row(f"onnxcomp/{name}", "onnxcomp", "", {"target": target, **settings})


def _ort(name: str, **settings: Any) -> Row:
    return Row(f"ort/{name}", "ort", "ort", settings)


def _onnxsim(name: str, **settings: Any) -> Row:
    return Row(f"onnxsim/{name}", "onnxsim", "onnxsim", settings)


def _nncf(name: str, batch: int, preset: str, **settings: Any) -> Row:
    return Row(f"nncf/{name}", "nncf", "nncf", {"batch": batch, "preset": preset, **settings})


def _inc(name: str, **settings: Any) -> Row:
    return Row(f"neural-compressor/{name}", "neural-compressor", "inc", settings)


def _onc(name: str, **settings: Any) -> Row:
    return Row(f"onnx-neural-compressor/{name}", "onnx-neural-compressor", "onc", settings)


def _modelopt(name: str, **settings: Any) -> Row:
    return Row(f"modelopt/{name}", "modelopt", "modelopt", settings)


def _quark(config: str) -> Row:
    return Row(f"quark/{config}", "quark", "quark", {"config": config})


def _aimet(name: str, scheme: str, **repairs: Any) -> Row:
    return Row(f"aimet/{name}", "aimet", "aimet", {"quant_scheme": scheme, "repairs": repairs})


def _ppq(name: str, **settings: Any) -> Row:
    return Row(f"ppq/{name}", "ppq", "ppq", settings)


ROWS: tuple[Row, ...] = (
    _onnxcomp("xavier", "xavier"),
    _onnxcomp("xavier, ranges of max", "xavier", calibration="max"),
    _onnxcomp("xavier, equalize", "xavier", equalize="true"),
    _onnxcomp("xavier, bias and statistics", "xavier", bias_correction="true", reestimate_bn="true"),
    _onnxcomp("xavier repaired", "xavier", **REPAIRS),
    _onnxcomp("xavier, equalize, residual inputs float", "xavier", equalize="true", residual="false"),
    _onnxcomp("orin", "orin"),
    _onnxcomp("ort-cpu", "ort-cpu"),
    _onnxcomp("ort-cpu repaired", "ort-cpu", **REPAIRS),
    _ort("default QInt8 MinMax"),
    _ort("QInt8 MinMax per channel", per_channel=True),
    _ort("QUInt8 MinMax per channel", activation_type="QUInt8", per_channel=True),
    _ort(
        "QUInt8 Percentile per channel",
        activation_type="QUInt8",
        per_channel=True,
        calibrate_method="Percentile",
    ),
    _ort(
        "QUInt8 Entropy per channel", activation_type="QUInt8", per_channel=True, calibrate_method="Entropy"
    ),
    _ort("TensorRT options MinMax", **FOR_TENSORRT),
    _ort("TensorRT options Percentile", **FOR_TENSORRT, calibrate_method="Percentile"),
    _onnxsim("default"),
    _onnxsim("percentile", method="percentile"),
    _onnxsim("mse", method="mse"),
    _onnxsim("entropy", method="entropy"),
    _onnxsim("auto", method="auto"),
    _onnxsim("mse + bias", method="mse", repairs=["simplify", "bias"]),
    _onnxsim("mse + equalize", method="mse", repairs=["simplify", "equalize"]),
    _onnxsim("mse + adaround", method="mse", repairs=["adaround"]),
    _onnxsim("full graph", full_graph=True),
    _onnxsim("full graph mse", full_graph=True, method="mse"),
    _nncf("PERFORMANCE batch 32", 32, "PERFORMANCE"),
    _nncf("MIXED batch 32", 32, "MIXED"),
    _nncf("PERFORMANCE batch 1", 1, "PERFORMANCE"),
    _nncf("MIXED batch 32, exact bias correction", 32, "MIXED", fast_bias_correction=False),
    _inc("default"),
    _inc("QDQ", quant_format="QDQ"),
    _inc("onnxrt_trt_ep", quant_format="QDQ", backend="onnxrt_trt_ep", device="gpu"),
    _onc("default"),
    _onc(
        "QInt8 QDQ per channel",
        calibrate_method="MinMax",
        quant_format="QDQ",
        activation_type="QInt8",
        weight_type="QInt8",
        per_channel=True,
    ),
    _modelopt("default (entropy, fp16)"),
    _modelopt("entropy fp32", calibration_method="entropy", high_precision_dtype="fp32"),
    _modelopt("max fp32", calibration_method="max", high_precision_dtype="fp32"),
    _aimet("min_max", "min_max"),
    _aimet("tf_enhanced", "tf_enhanced"),
    _aimet("tf_enhanced + equalize", "tf_enhanced", equalize=True),
    _aimet("tf_enhanced + SeqMSE", "tf_enhanced", seq_mse=True),
    _aimet("tf_enhanced + AdaRound", "tf_enhanced", adaround=10000),
    _aimet("tf_enhanced + AdaRound, 100 iterations", "tf_enhanced", adaround=100),
    _quark("S8S8_AAWS"),
    _quark("INT8_CNN_DEFAULT"),
    _quark("INT8_CNN_ACCURATE"),
    _quark("XINT8"),
    _quark("A8W8"),
    _ppq("TRT_INT8"),
    Row(
        "olive/OnnxStaticQuantization",
        "olive",
        "",
        left_out="calls quantize_static of ONNX Runtime: the same file as ort/default",
    ),
)
