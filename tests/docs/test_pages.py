"""How the tests read a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import Command, blocks_of, calls, commands_of

PAGE = """\
```sh
onnxcomp a x.onnx \\
    --option   # why
# a remark
onnxcomp b
```

<!-- not run: no device -->
```console
$ onnxcomp c
one
two
$ onnxcomp d
```

1. In a list:

    ```yaml title="a/b.yaml"
    key: 1
    ```
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(PAGE, encoding="utf-8")
    return path


def test_blocks_are_found_with_their_marks(page: Path) -> None:
    sh, console, yaml = blocks_of(page)
    assert (sh.where, sh.language, sh.file, sh.reason) == ("page.md:1", "sh", "", "")
    assert (console.language, console.reason) == ("console", "no device")
    assert (yaml.language, yaml.file, yaml.text, yaml.reason) == ("yaml", "a/b.yaml", "key: 1\n", "")


def test_commands_are_lines_and_what_they_print(page: Path) -> None:
    sh, console, _ = blocks_of(page)
    assert [command.line for command in commands_of(sh)] == [
        "onnxcomp a x.onnx \\\n    --option   # why",
        "onnxcomp b",
    ]
    assert commands_of(console) == [Command("onnxcomp c", "one\ntwo\n"), Command("onnxcomp d", "")]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("onnxcomp a x.onnx \\\n  --b='c d'  # e", [["a", "x.onnx", "--b=c d"]]),
        ("mpirun -n 4 onnxcomp train c.onnx", [["train", "c.onnx"]]),
        (".venv/bin/onnxcomp a && onnxcomp b | head > c", [["a"], ["b"]]),
        ("pip install 'onnxcomp[cpu]'", []),
        ("onnxcomp --version", [["--version"]]),
    ],
)
def test_calls_are_found_in_a_line(line: str, found: list[list[str]]) -> None:
    assert calls(line) == found
