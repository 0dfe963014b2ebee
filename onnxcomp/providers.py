"""ONNX Runtime's execution providers: the one that was asked for, or an error."""

from __future__ import annotations

from typing import Any, Literal, get_args

from onnxcomp import extras
from onnxcomp.errors import MissingPackageError, OnnxcompError

Provider = Literal["cpu", "cuda", "tensorrt"]
PROVIDERS: tuple[str, ...] = get_args(Provider)
_CPU, _CUDA, _TENSORRT = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Tensorrt"))
# What TensorRT does not take CUDA computes, as ONNX Runtime's documentation of the provider advises.
_NAMES = {"cpu": (_CPU,), "cuda": (_CUDA,), "tensorrt": (_TENSORRT, _CUDA)}
_QDQ = b"DequantizeLinear"


def configure(options: Any, provider: Provider, network: bytes) -> list[Any]:
    """What ``InferenceSession`` is given as ``providers``; also sets ``options``.

    ONNX Runtime computes on the CPU what it cannot compute elsewhere, and says so in a log at best
    (microsoft/onnxruntime#23372): here that is an error while the session is made.

    Args:
        network: serialised; one with Q/DQ has TensorRT's INT8 switched on, and its pairs left as they are
            (microsoft/onnxruntime#17312).

    Raises:
        MissingPackageError: the ONNX Runtime that is installed has no such provider.
    """
    names = _NAMES[provider]
    available = extras.onnxruntime().get_available_providers()
    for name in names:
        if name not in available:
            raise MissingPackageError(
                f"{' '.join(extras.installed_runtimes())} has no {name}",
                where=f"--provider {provider}",
                fix="run: pip install 'onnxcomp[gpu]' in an environment without another ONNX Runtime, or"
                " choose --provider cpu",
            )
    if provider != "cpu":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if provider != "tensorrt":
        return list(names)
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return [(_TENSORRT, {"trt_int8_enable": str(int(_QDQ in network))}), _CUDA]


def check(session: Any, provider: Provider) -> None:
    """Refuse a session that runs elsewhere than asked, now or after an error in a run.

    Raises:
        OnnxcompError: ONNX Runtime could not load the provider's libraries.
    """
    missing = [name for name in _NAMES[provider] if name not in session.get_providers()]
    if missing:
        raise unable(provider, f"it started without {missing[0]}")
    session.disable_fallback()


def unable(provider: Provider, reason: str) -> OnnxcompError:
    """The error of a network that a provider does not run whole."""
    return OnnxcompError(
        f"ONNX Runtime cannot run the network there: {reason}",
        where=f"--provider {provider}",
        fix="check that a GPU is there, and the driver, CUDA, cuDNN (and TensorRT) that this release of"
        " onnxruntime-gpu needs, or choose --provider cpu",
    )
