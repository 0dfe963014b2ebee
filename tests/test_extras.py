"""Optional packages: absent, doubled, of the wrong kind, and ONNX Runtime without torch."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from onnxcomp import extras
from onnxcomp.errors import MissingPackageError
from tests.project import python


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that makes exactly the named distributions appear installed."""

    def pretend(*names: str) -> None:
        def distribution(name: str) -> Any:
            if name not in names:
                raise importlib.metadata.PackageNotFoundError(name)
            return SimpleNamespace(name=name)

        monkeypatch.setattr(importlib.metadata, "distribution", distribution)
        monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)

    return pretend


def test_none_installed_says_what_to_install(install: Any) -> None:
    install()
    with pytest.raises(MissingPackageError, match=r"not installed; run: pip install 'onnxcomp\[train\]'"):
        extras.onnxruntime()


def test_leftover_metadata_without_the_package_counts_as_none(
    install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("onnxruntime")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="not installed"):
        extras.onnxruntime()


def test_two_installed_are_both_named(install: Any) -> None:
    install("onnxruntime", "onnxruntime-training-cpu")
    with pytest.raises(MissingPackageError) as caught:
        extras.onnxruntime()
    assert "onnxruntime and onnxruntime-training-cpu are both installed" in str(caught.value)
    assert "pip uninstall -y onnxruntime onnxruntime-training-cpu && pip install" in caught.value.fix


def test_a_runtime_that_cannot_train_is_named(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    install("onnxruntime")
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace())
    with pytest.raises(MissingPackageError) as caught:
        extras.training_bindings()
    assert "onnxruntime cannot train" in str(caught.value)
    assert "pip uninstall -y onnxruntime && pip install 'onnxcomp[train]'" in caught.value.fix


def test_a_loaded_runtime_is_returned_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "onnxruntime", loaded)
    assert extras.onnxruntime() is loaded


def test_an_absent_optional_package_names_its_extra() -> None:
    with pytest.raises(MissingPackageError, match=r"pip install 'onnxcomp\[demo\]'"):
        extras.optional("no_such_package.datasets", "demo")


def test_a_fault_inside_an_optional_package_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_package.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        extras.optional("broken_package", "demo")


def test_an_installed_optional_package_is_returned() -> None:
    assert extras.optional("json", "demo").loads("[1]") == [1]


# A torch that notes in stdout that it was imported, whether or not the real one is installed.
FAKE_TORCH = "import sys; sys.path.insert(0, sys.argv[1])\n"


@pytest.fixture
def fake_torch(tmp_path: Path) -> str:
    (tmp_path / "torch.py").write_text("print('torch was imported')\n__version__ = '0'\n")
    return str(tmp_path)


def test_plain_import_loads_torch(fake_torch: str) -> None:
    """Shows that the next test can fail."""
    done = python(FAKE_TORCH + "import onnxruntime", fake_torch)
    assert "torch was imported" in done.stdout


def test_onnxruntime_loads_without_torch(fake_torch: str) -> None:
    code = "from onnxcomp import extras\nprint(extras.onnxruntime().__version__, 'torch' in sys.modules)"
    done = python(FAKE_TORCH + code, fake_torch)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "1.19.2 False\n")


def test_training_bindings_load_without_torch(fake_torch: str) -> None:
    code = (
        "from onnxcomp import extras\n"
        "bindings = extras.training_bindings()\n"
        "print(hasattr(bindings, 'GradientGraphBuilder'), 'torch' in sys.modules)"
    )
    done = python(FAKE_TORCH + code, fake_torch)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "True False\n")
