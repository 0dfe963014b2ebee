from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from onnxcomp import extras, providers, runtime
from onnxcomp.errors import MissingPackageError, OnnxcompError
from onnxcomp.providers import PROVIDERS

NAMES = ("CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider")


class Options:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_session_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value


class Session:
    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.falls_back = True

    def get_providers(self) -> list[str]:
        return self.names

    def disable_fallback(self) -> None:
        self.falls_back = False


@pytest.fixture
def all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ONNX Runtime with all of them."""
    monkeypatch.setattr(
        extras, "onnxruntime", lambda: SimpleNamespace(get_available_providers=lambda: list(NAMES))
    )


@pytest.mark.usefixtures("all_there")
@pytest.mark.parametrize(
    ("provider", "network", "given", "entries"),
    [
        ("cpu", b"QuantizeLinear DequantizeLinear", ["CPUExecutionProvider"], {}),
        ("cuda", b"", ["CUDAExecutionProvider"], {"session.disable_cpu_ep_fallback": "1"}),
        (
            "tensorrt",
            b"... DequantizeLinear ...",
            [("TensorrtExecutionProvider", {"trt_int8_enable": "1"}), "CUDAExecutionProvider"],
            {"session.disable_cpu_ep_fallback": "1", "session.disable_quant_qdq": "1"},
        ),
        (
            "tensorrt",
            b"Conv",
            [("TensorrtExecutionProvider", {"trt_int8_enable": "0"}), "CUDAExecutionProvider"],
            {"session.disable_cpu_ep_fallback": "1", "session.disable_quant_qdq": "1"},
        ),
    ],
)
def test_nothing_may_fall_back(
    provider: Any, network: bytes, given: list[Any], entries: dict[str, str]
) -> None:
    options = Options()
    assert providers.configure(options, provider, network) == given
    assert options.entries == entries


@pytest.mark.parametrize("provider", [name for name in PROVIDERS if name != "cpu"])
def test_one_that_is_not_there_is_an_error(provider: Any) -> None:
    if len(extras.onnxruntime().get_available_providers()) > 2:
        pytest.skip("this ONNX Runtime has other providers")
    with pytest.raises(MissingPackageError, match=r"has no (CUDA|Tensorrt)ExecutionProvider"):
        providers.configure(Options(), provider, b"")


def test_one_that_does_not_start_is_an_error() -> None:
    """ONNX Runtime has gone on with the CPU, as it does where CUDA's libraries are missing."""
    with pytest.raises(OnnxcompError, match="it started without CUDAExecutionProvider"):
        providers.check(Session("CPUExecutionProvider"), "cuda")
    with pytest.raises(OnnxcompError, match="it started without TensorrtExecutionProvider"):
        providers.check(Session("CUDAExecutionProvider", "CPUExecutionProvider"), "tensorrt")


def test_one_that_starts_does_not_fall_back_later() -> None:
    session = Session(*NAMES)
    providers.check(session, "tensorrt")
    assert not session.falls_back


def test_a_session_that_cannot_be_made_there_says_what_to_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """What onnxruntime-gpu 1.22 raises where CUDA's libraries are missing."""
    reason = "This session contains graph nodes that are assigned to the default CPU EP"

    def fail(*args: Any, **options: Any) -> None:
        raise RuntimeError(reason)

    monkeypatch.setattr(extras.onnxruntime(), "InferenceSession", fail)
    monkeypatch.setattr(providers, "configure", lambda options, provider, network: [])
    with pytest.raises(OnnxcompError, match=f"--provider cuda: .*{reason}; check that a GPU is there"):
        runtime.session_of_proto(b"", threads=1, provider="cuda")
