"""Accuracy right after channels are cut, without training: ``channels.py MODEL DATA [OUT.json [IMAGES]]``.

Prints, for all test images, the top-1 accuracy by criterion and share of multiply-accumulates left, with the
remaining weights as they were and solved anew. Criteria and solving see IMAGES training images (512).
OUT.json is written after every cell; cells that it has are not run again. One thread.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from onnxcomp import gradients, grams, pipeline, recipe
from onnxcomp import model as models
from onnxcomp.data import open_data
from onnxcomp.macs import total
from onnxcomp.model import Model
from onnxcomp.parity.accuracy import accuracy
from onnxcomp.report.size import count_parameters

CRITERIA = ("obd", "taylor", "magnitude")
MACS = (0.7, 0.5, 0.3)


def measure(model: Model, text: str, data: Any, sources: dict[str, Any]) -> dict[str, Any]:
    """Apply and evaluate one cell."""
    start = time.process_time()
    result = pipeline.apply(model, recipe.parse(text), **sources)
    return {
        "recipe": text,
        "cpu_seconds": time.process_time() - start,
        "top1": accuracy(result, data.test, threads=1),
        "macs": total(result.graph),
        "parameters": count_parameters(result).total,
    }


def main(path: str, data_name: str, output: str = "channels.json", images: str = "512") -> None:
    model, data = models.load(path), open_data(data_name)
    file = Path(output)
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    looked = {"images": int(images), "threads": 1}
    sources = {
        "grams": grams.from_data(model, data, **looked),
        "gradients": gradients.from_data(model, data, **looked),
    }
    for criterion in CRITERIA:
        for macs in MACS:
            for solve in ("true", "false"):
                text = f"channels{{criterion={criterion} macs={macs} align=8 reconstruct={solve}}}"
                if text not in found:
                    found[text] = measure(model, text, data, sources)
                    file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
                cell = found[text]
                sys.stdout.write(
                    f"{criterion:10} {macs:4.0%} {'solved' if solve == 'true' else 'as is':7}"
                    f" top-1 {cell['top1']:6.2f}  MACs {cell['macs']:>12,}"
                    f"  parameters {cell['parameters']:>11,}  {cell['cpu_seconds']:6.1f} s\n"
                )
                sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
