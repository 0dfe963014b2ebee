"""One quantizer in a process of its own, from file to file: ``ptq_worker.py JOB.json``.

Runs in the tool's environment, where there is no onnxcomp. JOB.json says ``tool``, ``settings`` (a row of
ptq_settings.py), ``model``, ``output``, ``calibration`` (.npy, float32 (N, C, H, W), preprocessed) and
``stats``, the file to write: CPU and wall seconds since the start of the process, when the imports were
done and when the file was there, and the versions of the packages.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

BATCH = 32
Quantize = Callable[[], None]


class Job:
    """What is to be quantised, and with what."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.model = spec["model"]
        self.output = spec["output"]
        self.settings: dict[str, Any] = dict(spec["settings"])
        self.scratch = Path(spec["output"]).parent

    def images(self) -> Any:
        import numpy as np

        return np.load(self.spec["calibration"])

    def batches(self, size: int = BATCH) -> list[Any]:
        images = self.images()
        return [images[start : start + size] for start in range(0, len(images), size)]

    def input_name(self) -> str:
        import onnx

        graph = onnx.load(self.model).graph
        constants = {tensor.name for tensor in graph.initializer}
        return next(value.name for value in graph.input if value.name not in constants)

    def feeds(self, size: int = BATCH) -> list[dict[str, Any]]:
        name = self.input_name()
        return [{name: batch} for batch in self.batches(size)]


class Reader:
    """The calibration data of ONNX Runtime's interface, which four tools took over."""

    def __init__(self, feeds: list[dict[str, Any]]) -> None:
        self._feeds = feeds
        self.rewind()

    def rewind(self) -> None:
        self._left = iter(self._feeds)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._left, None)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._feeds)

    def __len__(self) -> int:
        return len(self._feeds)


def onnxcomp(job: Job) -> Quantize:
    import onnx  # noqa: F401

    from onnxcomp import calibration, runtime, sources  # noqa: F401
    from onnxcomp.commands import apply
    from onnxcomp.deploy import finalize  # noqa: F401
    from onnxcomp.extras import onnxruntime

    onnxruntime()

    def quantize() -> None:
        target = job.settings.pop("target")
        sets = [f"--set=qat.{name}={value}" for name, value in job.settings.items()]
        data = ["--data", job.spec["data"], "--calibration-images", str(job.spec["images"]), "--threads", "1"]
        data += ["--calibration-cache", str(job.scratch / "cache")]  # an empty one
        passes = ["qat", job.model, "--deployable", job.output, "--target", target, *data, *sets]
        apply.command.main(passes, standalone_mode=False)

    return quantize


def ort(job: Job) -> Quantize:
    from onnxruntime.quantization import (  # noqa: TID251 - of an environment without onnxcomp
        CalibrationMethod,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: TID251

    def quantize() -> None:
        options = job.settings
        prepared = str(job.scratch / "prepared.onnx")
        quant_pre_process(job.model, prepared)
        for key, kind in (
            ("activation_type", QuantType),
            ("weight_type", QuantType),
            ("calibrate_method", CalibrationMethod),
        ):
            if key in options:
                options[key] = getattr(kind, options[key])
        quantize_static(prepared, job.output, Reader(job.feeds()), **options)

    return quantize


def onnxsim(job: Job) -> Quantize:
    import onnx
    import onnxsim as tool

    def quantize() -> None:
        feeds = job.feeds()
        repairs = job.settings.pop("repairs", [])
        model = onnx.load(job.model)
        if "simplify" in repairs:
            model, _ = tool.simplify(model)
        if "equalize" in repairs:
            model = tool.cross_layer_equalize(model)
        quantized = tool.quantize_static(model, calibration_data=feeds, **job.settings)
        if "adaround" in repairs:
            quantized = tool.apply_adaround(model, quantized, calibration_data=feeds)
        if "adaquant" in repairs:
            quantized = tool.apply_adaquant(model, quantized, calibration_data=feeds)
        if "bias" in repairs:
            quantized = tool.correct_bias(model, quantized, calibration_data=feeds)
        onnx.save(quantized, job.output)

    return quantize


def nncf(job: Job) -> Quantize:
    import nncf as tool
    import onnx

    def quantize() -> None:
        feeds = job.feeds(job.settings.pop("batch"))
        preset = tool.QuantizationPreset[job.settings.pop("preset")]
        dataset = tool.Dataset(feeds, lambda feed: feed)
        model = onnx.load(job.model)
        onnx.save(
            tool.quantize(model, dataset, preset=preset, subset_size=len(feeds), **job.settings), job.output
        )

    return quantize


class Loader:
    """Calibration data as neural-compressor takes it."""

    batch_size = BATCH

    def __init__(self, batches: list[Any]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Any]:
        return ((batch, 0) for batch in self._batches)


def neural_compressor(job: Job) -> Quantize:
    from neural_compressor import PostTrainingQuantConfig, quantization

    def quantize() -> None:
        options = {"approach": "static", "calibration_sampling_size": [job.spec["images"]], **job.settings}
        config = PostTrainingQuantConfig(**options)
        quantization.fit(job.model, config, calib_dataloader=Loader(job.batches())).save(job.output)

    return quantize


def onnx_neural_compressor(job: Job) -> Quantize:
    from onnx_neural_compressor import quantization
    from onnx_neural_compressor.quantization import CalibrationMethod, QuantFormat, QuantType, config

    def quantize() -> None:
        options = job.settings
        kinds = {
            "calibrate_method": CalibrationMethod,
            "quant_format": QuantFormat,
            "activation_type": QuantType,
            "weight_type": QuantType,
        }
        chosen = {
            key: getattr(kinds[key], value) if key in kinds else value for key, value in options.items()
        }
        static = config.StaticQuantConfig(calibration_data_reader=Reader(job.feeds()), **chosen)
        quantization.quantize(job.model, job.output, static)

    return quantize


def modelopt(job: Job) -> Quantize:
    import modelopt.onnx.quantization as tool

    def quantize() -> None:
        images, name = job.images(), job.input_name()
        shape = "x".join(map(str, (BATCH, *images.shape[1:])))
        tool.quantize(
            job.model,
            quantize_mode="int8",
            calibration_data={name: images},
            calibration_shapes=f"{name}:{shape}",
            calibration_eps=["cpu"],
            output_path=job.output,
            **job.settings,
        )

    return quantize


def aimet(job: Job) -> Quantize:
    import aimet_onnx as tool
    import onnx
    from aimet_onnx.batch_norm_fold import fold_all_batch_norms_to_weight

    def quantize() -> None:
        repairs = job.settings.pop("repairs", {})
        model, feeds = onnx.load(job.model), job.feeds()
        if "equalize" in repairs:
            from aimet_onnx.cross_layer_equalization import equalize_model

            equalize_model(model)
        else:
            fold_all_batch_norms_to_weight(model)
        sim = tool.QuantizationSimModel(model, **job.settings)
        if "seq_mse" in repairs:
            tool.apply_seq_mse(sim, feeds)
        if "adaround" in repairs:
            tool.apply_adaround(sim, feeds, num_iterations=repairs["adaround"])
        sim.compute_encodings(feeds)
        onnx.save(sim.to_onnx_qdq(), job.output)

    return quantize


def quark(job: Job) -> Quantize:
    from quark.onnx import ModelQuantizer
    from quark.onnx.quantization.config.config import Config
    from quark.onnx.quantization.config.custom_config import get_default_config

    def quantize() -> None:
        config = Config(global_quant_config=get_default_config(job.settings["config"]))
        ModelQuantizer(config).quantize_model(job.model, job.output, Reader(job.feeds()))

    return quantize


def ppq(job: Job) -> Quantize:
    import torch
    from ppq import QuantizationSettingFactory, TargetPlatform
    from ppq.api import export_ppq_graph, quantize_onnx_model

    def quantize() -> None:
        setting = QuantizationSettingFactory.default_setting()
        for name, value in job.settings.items():
            if not hasattr(setting, name):
                raise AttributeError(f"PPQ has no setting {name}")
            setattr(setting, name, value)
        batches = [torch.from_numpy(batch) for batch in job.batches()]
        graph = quantize_onnx_model(
            onnx_import_file=job.model,
            calib_dataloader=batches,
            calib_steps=len(batches),
            input_shape=list(batches[0].shape),
            platform=TargetPlatform.TRT_INT8,
            setting=setting,
            device="cpu",
            collate_fn=lambda batch: batch,
        )
        export_ppq_graph(
            graph=graph,
            platform=TargetPlatform.ONNXRUNTIME,
            graph_save_to=job.output,
            config_save_to=str(job.scratch / "ppq.json"),
        )
        free_batch(job.output)

    return quantize


def free_batch(path: str) -> None:
    """Make the batch of a file free again, where a tool wrote the one of its calibration."""
    import onnx

    model = onnx.load(path)
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    onnx.save(model, path)


TOOLS: dict[str, Callable[[Job], Quantize]] = {
    tool.__name__.replace("_", "-"): tool
    for tool in (
        onnxcomp,
        ort,
        onnxsim,
        nncf,
        neural_compressor,
        onnx_neural_compressor,
        modelopt,
        aimet,
        quark,
        ppq,
    )
}


def spent() -> dict[str, float]:
    """Seconds since this process began."""
    times = os.times()
    ticks = os.sysconf("SC_CLK_TCK")
    begun = float(Path("/proc/self/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[19]) / ticks
    cpu = times.user + times.system + times.children_user + times.children_system
    return {"cpu": cpu, "wall": time.clock_gettime(time.CLOCK_BOOTTIME) - begun}


def main(path: str) -> None:
    spec = json.loads(Path(path).read_text(encoding="utf-8"))
    quantize = TOOLS[spec["tool"]](Job(spec))
    imported = spent()
    quantize()
    done = spent()
    versions = {one.metadata["Name"]: one.version for one in metadata.distributions()}
    stats = {"imported": imported, "done": done, "versions": versions}
    Path(spec["stats"]).write_text(json.dumps(stats), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
