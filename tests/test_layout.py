"""The layout at the root, and that a wheel holds onnxcomp and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import onnxcomp
from tests.project import ROOT, sources

LINKS = ("passes", "models")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """A wheel built, without the network, from a copy: a build writes beside the sources."""
    checkout = tmp_path_factory.mktemp("checkout")
    out = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "onnxcomp", checkout / "onnxcomp", ignore=ignored)
    for link in LINKS:
        (checkout / link).symlink_to(f"onnxcomp/{link}")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "cli.py"):
        shutil.copy(ROOT / name, checkout)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(out), str(checkout)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return zipfile.Path(built)


@pytest.mark.parametrize("name", LINKS)
def test_link_leads_to_the_real_code(name: str) -> None:
    link = ROOT / name
    assert link.is_symlink()
    assert link.readlink() == Path("onnxcomp") / name
    assert (link / "__init__.py").is_file()


def test_root_cli_is_a_shim() -> None:
    lines = (ROOT / "cli.py").read_text().splitlines()
    assert len(lines) <= 8
    assert "from onnxcomp.cli import main" in lines


def test_root_cli_runs() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()[-1]) == (0, onnxcomp.__version__)


def test_wheel_has_one_top_level_name(wheel: zipfile.Path) -> None:
    names = {entry.name for entry in wheel.iterdir() if not entry.name.endswith(".dist-info")}
    assert names == {"onnxcomp"}


def test_wheel_holds_every_source_and_the_type_marker(wheel: zipfile.Path) -> None:
    with zipfile.ZipFile(str(wheel.root.filename)) as archive:
        names = set(archive.namelist())
    data = [path for kind in ("*.json", "*.yaml", "page.[chj]*") for path in (ROOT / "onnxcomp").rglob(kind)]
    files = [*sources(), ROOT / "onnxcomp/py.typed", *data]
    expected = {path.relative_to(ROOT).as_posix() for path in files}
    assert expected <= names
    assert {"onnxcomp/passes/__init__.py", "onnxcomp/models/__init__.py"} <= names
    assert not {name for name in names if name.startswith("onnxcomp/")} - expected


def test_wheel_installs_the_command_and_the_licence(wheel: zipfile.Path) -> None:
    info = wheel / f"onnxcomp-{onnxcomp.__version__}.dist-info"
    assert "onnxcomp = onnxcomp.__main__:main" in (info / "entry_points.txt").read_text()
    metadata = (info / "METADATA").read_text()
    assert "Requires-Python: >=3.10" in metadata
    with zipfile.ZipFile(str(wheel.root.filename)) as archive:
        assert [name for name in archive.namelist() if Path(name).name == "LICENSE"]
