"""Which operators and opsets each TensorRT parses.

From docs/operators.md of onnx/onnx-tensorrt for 8.5 and 10.15 and from docs/Changelog.md there, which says
when the others came. Of two operators one does not know: the table of 8.5-GA says no to HardSwish and OneHot,
and a correction five days after the release says yes (pull request 882); these are warnings.
"""

from __future__ import annotations

from collections.abc import Iterator

from onnxcomp.deploy.lint.network import STANDARD, Network, name_of
from onnxcomp.deploy.lint.rule import Hit, Rule, Scope
from onnxcomp.deploy.targets import Target

_PARSED = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Celu
Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div
Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gemm
GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GRU HardSigmoid Identity If
InstanceNormalization IsNaN LeakyRelu Less LessOrEqual Log LogSoftmax Loop LRN LSTM LpNormalization LpPool
MatMul Max MaxPool Mean MeanVarianceNormalization Min Mod Mul Neg NonMaxSuppression NonZero Not Or Pad Pow
PRelu QuantizeLinear RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal
ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
ReduceSumSquare Relu Reshape Resize ReverseSequence RNN RoiAlign Round Scan Scatter ScatterElements
ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split
Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor
"""
PARSED = frozenset(_PARSED.split())
"""By 8.5 and all later ones."""
UNSURE = {"HardSwish": (8, 6), "OneHot": (8, 6)}
"""Version from which there is no doubt."""
SINCE: dict[str, tuple[int, ...]] = {
    **UNSURE,
    **dict.fromkeys(("GroupNormalization", "IsInf", "LayerNormalization"), (8, 6)),
    "Hardmax": (9, 2),
    **dict.fromkeys(("CastLike", "Gelu", "Mish"), (10, 0)),
    "DeformConv": (10, 1),
    **dict.fromkeys(("BlackmanWindow", "HammingWindow", "HannWindow"), (10, 4)),
    "STFT": (10, 5),
    "Attention": (10, 14),
    **dict.fromkeys(("RMSNormalization", "RotaryEmbedding", "TensorScatter"), (10, 15)),
    "Swish": (11, 0),
}
"""Version of the parser that first took an operator."""
INTEGER_OPS = ("ConvInteger", "DynamicQuantizeLinear", "MatMulInteger")
LOCAL_FUNCTIONS = (9, 0)
POOLS = ("AveragePool", "LpPool", "MaxPool")
LEAST_OPSET = 9  # of 10 and 11
_TABLE = "onnx-tensorrt, docs/operators.md"


def _opset(network: Network, target: Target) -> Iterator[Hit]:
    if network.opset > target.max_opset:
        yield Hit("", f"opset {network.opset}, and this TensorRT parses up to {target.max_opset}")
    assert target.tensorrt is not None
    if network.opset < LEAST_OPSET and target.tensorrt >= (10,):
        yield Hit("", f"opset {network.opset}, and this TensorRT parses from {LEAST_OPSET} on")


def _operators(network: Network, target: Target) -> Iterator[Hit]:
    assert target.tensorrt is not None
    for node in network.everywhere():
        if node.domain not in STANDARD or _is_integer(node.op) or node.op in PARSED:
            continue
        since = SINCE.get(node.op)
        if since is None:
            yield Hit(name_of(node), f"{node.op} is parsed by no TensorRT")
        elif target.tensorrt < since and node.op not in UNSURE:
            yield Hit(name_of(node), f"{node.op} is parsed from TensorRT {since[0]}.{since[1]} on")


def _unsure(network: Network, target: Target) -> Iterator[Hit]:
    for node in network.everywhere():
        if node.domain in STANDARD and node.op in UNSURE:
            yield Hit(name_of(node), f"{node.op} is in one list of the operators of 8.5 and not in another")


def _custom(network: Network, target: Target) -> Iterator[Hit]:
    assert target.tensorrt is not None
    functions = network.functions() if target.tensorrt >= LOCAL_FUNCTIONS else set()
    for node in network.everywhere():
        if (
            node.domain not in STANDARD
            and not _is_integer(node.op)
            and (node.domain, node.op) not in functions
        ):
            yield Hit(name_of(node), f"{node.domain}::{node.op} is not a standard operator")


def _integer(network: Network, target: Target) -> Iterator[Hit]:
    for node in network.everywhere():
        if _is_integer(node.op):
            yield Hit(name_of(node), f"{node.op} computes on integers")


def _pooling(network: Network, target: Target) -> Iterator[Hit]:
    for node in network.everywhere():
        if node.op in POOLS and any(size != 1 for size in node.attrs.get("dilations") or ()):
            yield Hit(name_of(node), f"{node.op} has dilations {list(node.attrs['dilations'])}")
        indices = node.outputs[1:] if node.op == "MaxPool" else []
        if any(tensor.outputs or network.is_output(tensor) for tensor in indices):
            yield Hit(name_of(node), "the indices of MaxPool are read")


def _is_integer(op: str) -> bool:
    """Also ONNX Runtime's own, such as QLinearAdd, QGemm and DynamicQuantizeMatMul."""
    return op.startswith(("QLinear", "DynamicQuantize", "QGemm")) or op in INTEGER_OPS


RULES = (
    Rule(
        "opset",
        "error",
        Scope("tensorrt"),
        f'operators of another opset may mean something else ("up to Opset 17" in 8.5, {_TABLE})',
        "finalize for this target, or export with opset 13 to 17",
        _opset,
    ),
    Rule(
        "operator",
        "error",
        Scope("tensorrt"),
        f'"No importer registered for op" ({_TABLE} and docs/Changelog.md)',
        "export it as operators that are parsed, or load a plugin of that name",
        _operators,
    ),
    Rule(
        "operator-unsure",
        "warning",
        Scope("tensorrt", before=(8, 6)),
        f"{_TABLE} of 8.5-GA says no, its correction a week later says yes (pull request 882)",
        "try it on the device, or export it as Mul, Add and Clip",
        _unsure,
    ),
    Rule(
        "custom-operator",
        "error",
        Scope("tensorrt"),
        'TensorRT looks for a plugin of that name ("Attempting to import as plugin"); functions of the file'
        " itself are parsed from 9.0 on (docs/Changelog.md)",
        "export with standard operators, or load the plugin (trtexec --plugins)",
        _custom,
    ),
    Rule(
        "pooling",
        "error",
        Scope("tensorrt"),
        f'"dilations must be empty or all ones", "Indices output tensor unsupported" ({_TABLE}, 10.x)',
        "export the network with plain pooling",
        _pooling,
    ),
    Rule(
        "integer-operator",
        "error",
        Scope("tensorrt"),
        f'"no" for QLinearConv, ConvInteger and their like ({_TABLE}); TensorRT makes INT8 kernels of Q/DQ',
        "quantise in QDQ format: onnxcomp apply qat, or quant_format=QuantFormat.QDQ in ONNX Runtime",
        _integer,
    ),
)
