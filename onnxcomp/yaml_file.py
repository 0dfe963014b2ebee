"""YAML files that people write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from onnxcomp.errors import OnnxcompError
from onnxcomp.nearest import meant_path

Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(Base):  # type: ignore[misc]
    """Refuses a key that is given twice, of which YAML's own reading keeps the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set[str]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                what = f"{key.value} is given twice"
                raise yaml.constructor.ConstructorError(None, None, what, key.start_mark)
            seen.add(str(key.value))
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def read_yaml(path: Path, kind: type[OnnxcompError] = OnnxcompError, *, fix: str = "check the file") -> Any:
    """What the file holds.

    Raises:
        OnnxcompError: of ``kind``; there is no such file, or it is no YAML.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError as error:
        raise kind("there is no such file", where=str(path), fix=meant_path(path)) from error
    except RecursionError as error:
        raise kind("is no YAML file (too deep)", where=str(path), fix=fix) from error
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: no UTF-8, or no such date
        reason = " ".join(str(error).split())
        raise kind(f"is no YAML file ({reason})", where=str(path), fix=fix) from error
