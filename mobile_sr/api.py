"""The public Python API. `import mobile_sr` gives these functions; heavy libraries are imported inside of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Unpack, overload

from mobile_sr import results

if TYPE_CHECKING:
    import keras
    import numpy as np
    import torch
    from PIL import Image

    from mobile_sr.devices.device import Device
    from mobile_sr.inference.upscaler import Upscaler
    from mobile_sr.training.recipes import Recipe

    Model: TypeAlias = str | Path | Upscaler | keras.Model | torch.nn.Module
    Images: TypeAlias = (
        str | Path | Sequence[np.ndarray | Image.Image | tuple[str, np.ndarray | Image.Image]] | Mapping[str, np.ndarray]
    )

Progress = Callable[[int, str], None]


class _Options(TypedDict, total=False):
    """Options of `evaluate` and `compare`, for type checkers."""

    space: str
    threads: int
    degrade: str
    seed: int
    progress: Progress | None
    device: str | None
    cpu: str | None
    soc: str | None


class _EvaluateOptions(_Options, total=False):
    scale: int | None
    ssim: bool


class _CompareOptions(_Options, total=False):
    metrics: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] | None


def load(
    model: Model,
    scale: int | None = None,
    threads: int = 1,
    *,
    device: str | None = None,
    cpu: str | None = None,
    soc: str | None = None,
) -> Upscaler:
    """Load a model and return an Upscaler.

    Args:
        model: name of a packaged model ('xlsr_x3', 'xlsr_x3:uint8'), 'bicubic', the path of a .tflite, .onnx, .keras, .h5,
            .pt2 or .npz file, of a run folder or of a SavedModel folder, 'module.py:function', or a model object of Keras or
            PyTorch. Networks from elsewhere accept options, as in 'net.tflite@range=255'.
        scale: expected factor; required for 'bicubic'.
        threads: CPU threads of .tflite and .onnx models.
        device: virtual device that runs a .tflite: 'virtual:arm64', 'virtual:hexagon' or 'virtual:gpu'
            (docs/guide/devices.md); None for this machine.
        cpu: of 'virtual:arm64': 'cortex-a76' (default), 'cortex-a72' or 'i8mm'.
        soc: of 'virtual:hexagon': its chip.
    Returns: an Upscaler. Call it with an [H, W, 3] uint8 RGB array or a PIL image; it returns the same kind of image,
        [H * scale, W * scale, 3].
    Raises: ValueError (mobile_sr.UserError) when the model does not exist, cannot be used, or has another scale, and when
        the device is unknown or not installed.

    Example:
        >>> upscaler = mobile_sr.load("xlsr_x3:uint8")
        >>> sr = upscaler(lr)
    """
    from mobile_sr.inference import upscaler

    chosen = _device(device, cpu, soc)
    if chosen and not isinstance(model, (str, Path)):
        from mobile_sr.errors import UserError

        raise UserError(f"device {chosen.name}: runs .tflite files only; give the path of a file instead of an object")
    if isinstance(model, upscaler.Upscaler):
        return model
    if _is_keras(model):
        return upscaler.of_keras_model(model, scale)
    if not isinstance(model, (str, Path)):
        from mobile_sr.importing import foreign

        return upscaler.checked(foreign.of_object(model, type(model).__name__), scale)
    return upscaler.load(model, scale, threads, device=chosen)


def train(
    recipe: str | Recipe | Callable[..., Recipe],
    data: str | Path | None,
    out: str | Path,
    *,
    net: str | Callable[..., Any] | None = None,
    init: str | Path | None = None,
    resume: bool = False,
    steps: int | None = None,
    seed: int | None = None,
    smoke: bool = False,
    cache: str | Path | None = None,
    bfloat16: bool = False,
    backend: str | None = None,
    **fields: Any,
) -> results.TrainingResult:
    """Train a recipe on a folder of images.

    Args:
        recipe: name of a recipe with its scale, such as 'xlsr_zoo_x3'; 'FILE.py:FUNCTION', a function that returns a Recipe,
            or a Recipe (docs/guide/own_recipe.md).
        data: folder of HR training images; None for a recipe with a data function.
        out: run folder to write.
        net: network in place of the recipe's: 'FILE.py:FUNCTION', a function that returns a Keras model, or a name.
        init: model whose weights the training starts from.
        resume: continue the run in `out`.
        steps, seed: override the recipe's.
        smoke: shrink the recipe to a few steps, to try it out.
        cache: folder for decoded images (default: MOBILE_SR_CACHE, else ~/.cache/mobile-sr).
        bfloat16: compute layers in bfloat16.
        backend: Keras backend: 'tensorflow', 'torch' or 'jax' (default: the first one installed).
        fields: further fields of the recipe, such as patch=48, peak_learning_rate=1e-3 or degrade='jpeg=60..95,noise=0..4'
            (docs/guide/degraded_images.md). Arguments of the network are given as **{"network.channels": 24}.
    Returns: a TrainingResult; its `folder` is a model for `load`, `export` and the others.
    Raises: ValueError (mobile_sr.UserError) for an unknown recipe, impossible fields or unusable data.
    """
    from mobile_sr import backend as backends
    from mobile_sr.architecture_search import architecture
    from mobile_sr.inference import model_files, weights
    from mobile_sr.training import train_loop

    start = None if init is None else model_files.find(init)
    chosen = _recipe(recipe, smoke, steps, seed, fields, backend, net)
    backends.choose_backend(backend)
    chosen.network |= architecture.for_recipe(chosen, out, start, resume=resume)
    dtype = "mixed_bfloat16" if bfloat16 else "float32"
    best = train_loop.train(chosen, data, out, init=start, resume=resume, cache=cache, dtype=dtype)
    about = weights.read_arrays(Path(out) / "best.npz")[1]
    record = {"folder": str(out), "psnr": best, "selected_by": about.get("selected_by", "rgb"), "step": about["step"]}
    return results.TrainingResult(record, Path(out), best, record["selected_by"], about["step"])


def search(
    recipe: str,
    data: str | Path,
    out: str | Path,
    *,
    budget: str | None = None,
    cost: str | None = None,
    resume: bool = False,
    steps: int | None = None,
    seed: int | None = None,
    smoke: bool = False,
    cache: str | Path | None = None,
    backend: str | None = None,
    **fields: Any,
) -> results.SearchResult:
    """Search a network under a budget (FGNAS).

    Args:
        recipe: 'fgnas_plain', 'fgnas_mobile', 'fgnas_s', 'fgnas_m' or 'fgnas_l' with a scale, such as 'fgnas_plain_x3'.
        data, out, resume, steps, seed, smoke, cache, backend, fields: see `train`.
        budget: '10G' multiply-adds or activations of a 1280x720 output, '120K' parameters, '8.5ms', '4480' instructions
            per LR pixel or '30%'.
        cost: what the budget counts: 'multiply_adds', 'parameters', 'activations', 'latency' or 'arm64'; None for the
            recipe's: 'arm64' for 'fgnas_plain', 'multiply_adds' for others.
    Raises: ValueError (mobile_sr.UserError) as `train`, and when the budget cannot be met or was not met.
    """
    from mobile_sr import backend as backends
    from mobile_sr.architecture_search import latency_table
    from mobile_sr.architecture_search import search as searching

    chosen = _recipe(recipe, smoke, steps, seed, fields, backend)
    backends.choose_backend(backend)
    kind = cost or chosen.network.get("cost", "multiply_adds")
    counted: Any = latency_table.measure(chosen.network["channels"], None) if kind == "latency" else kind
    searching.set_cost(chosen, counted, budget)
    best, architecture = searching.search(chosen, data, out, resume=resume, cache=cache)
    assert architecture is not None  # only on other ranks of a distributed search
    return results.SearchResult({"folder": str(out), "psnr": best, "architecture": architecture}, Path(out), best, architecture)


def export(
    model: str | Path | keras.Model | torch.nn.Module,
    out: str | Path,
    precisions: Sequence[str] | None = None,
    *,
    target: str | None = None,
    soc: Sequence[str] = (),
    size: tuple[int, int] | None = None,
    calibration: str | Path | None = None,
    seed: int = 0,
    per_tensor: bool = False,
    methods: Sequence[str] = ("mix", "equalize", "round", "clip", "spare", "fit"),
    float_weights: str | None = None,
    path: str | None = None,
    dense_groups: bool = False,
    max_colour_error: int = 16,
    options: Mapping[str, str | int] | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    log: Callable[[str], None] | None = None,
) -> results.ExportResult:
    """Convert a trained network to audited .tflite or .onnx files, each with a sidecar.

    Args:
        model: name of a packaged model, .npz file or run folder; or a network from elsewhere (docs/guide/own_network.md): a
            .keras, .h5, .onnx, .pt2 or float .tflite file, a SavedModel folder, 'module.py:function', or a model object of
            Keras (subclassed, too) or PyTorch.
        out: folder to write.
        precisions: of 'float32', 'float16', 'dynamic', 'int16', 'int8', 'uint8', 'onnx'; None is 'float32' and 'uint8', or that
            of the target.
        target: device that the files are for: 'cpu', 'gpu', 'nnapi', 'snapdragon', 'mediatek', 'samsung', 'google' or
            'ethos-u'. It chooses what is not given (docs/guide/targets.md); None for files of the options given.
        soc: with the target 'snapdragon': chips such as ['SM8650'] for which the files are compiled, too.
        size: fixed LR (height, width); None for dynamic, or the default of a target that needs one.
        calibration: folder of images for integer files, and for equalized and steered weights; None for the packaged ones.
        seed: of the calibration crops.
        per_tensor: one scale per integer kernel instead of one per output channel.
        methods: what lowers the loss of integer files: 'mix', 'equalize', 'round', 'clip', 'spare', 'fit'.
        float_weights: weights of float and ONNX files: 'trained'; 'equalized', the same function; 'steered', for quantization
            by another tool: nearly the same function, and rounding to nearest gives the integers of the uint8 file. None:
            'equalized' beside an integer file, else 'trained'.
        path: 'sparse' or 'dense' for networks with AdaDSR's depth masks.
        dense_groups: write grouped convolutions as ordinary ones.
        max_colour_error: levels that a file with integer or steered weights may move a flat colour away from the float network.
        options: value range, channel order and layout of a network from elsewhere, as in {'range': 255, 'order': 'bgr'}; a path
            can have them as in 'net.onnx@range=255'. Without them they are measured.
        ranges: {activation of the float32 .tflite: (minimum, maximum)} for integer files in place of measured ranges, such as
            `qat` learned (docs/guide/qat.md); without the method 'equalize'.
        log: called with one line per step; None is silent.
    Raises: ValueError (mobile_sr.UserError) for unusable arguments, AuditError when a file fails its audit.
    """
    from mobile_sr.quantization import export as exporter

    if precisions is None and target is None:
        precisions = ("float32", "uint8")
    paths = exporter.export(
        model,
        out,
        None if precisions is None else list(precisions),
        target=target,
        soc=[soc] if isinstance(soc, str) else list(soc),
        size=size,
        calibration=calibration,
        seed=seed,
        per_tensor=per_tensor,
        methods=list(methods),
        float_weights=float_weights,
        path=path,
        dense_groups=dense_groups,
        max_colour_error=max_colour_error,
        options=options,
        ranges=ranges,
        log=log or (lambda line: None),
    )
    files = []
    for file in paths:
        sidecar = json.loads(file.with_suffix(".json").read_text())
        files.append(results.ExportedFile(file, sidecar["precision"], file.stat().st_size, sidecar))
    return results.ExportResult.of(files)


@overload
def evaluate(model: Model, data: Images, **options: Unpack[_EvaluateOptions]) -> results.EvaluationResult: ...


@overload
def evaluate(model: Sequence[Model], data: Images, **options: Unpack[_EvaluateOptions]) -> list[results.EvaluationResult]: ...


def evaluate(
    model: Model | Sequence[Model],
    data: Images,
    *,
    space: str = "y",
    scale: int | None = None,
    threads: int = 1,
    ssim: bool = True,
    degrade: str = "",
    seed: int = 0,
    progress: Progress | None = None,
    device: str | None = None,
    cpu: str | None = None,
    soc: str | None = None,
) -> results.EvaluationResult | list[results.EvaluationResult]:
    """Measure PSNR and SSIM of a model, or of several.

    Args:
        model: see `load`; also an Upscaler, or a list of models, which may have different scales.
        data: folder or file of HR images, or HR images as arrays, PIL images, (name, image) pairs or a mapping.
        space: 'y' (Y channel, as in the literature) or 'rgb'.
        scale: of 'bicubic'.
        threads: CPU threads of .tflite and .onnx models.
        ssim: compute SSIM, too.
        degrade: degradation of the LR images, such as 'jpeg=75,noise=2' (docs/guide/degraded_images.md).
        seed: of the degradation.
        progress: called with (images done, name).
        device, cpu, soc: see `load`.
    Returns: an EvaluationResult; of a list of models, a list of them.
    Raises: ValueError (mobile_sr.UserError) for an unusable model, or without a usable image.
    """
    from mobile_sr.evaluation import evaluate as evaluation
    from mobile_sr.imaging import degradation

    images, degraded = _images(data), degradation.seeded(degrade, seed)
    upscalers = [load(entry, scale, threads, device=device, cpu=cpu, soc=soc) for entry in _several(model)]
    records = [evaluation.evaluate(upscaler, images, space, progress, ssim=ssim, degraded=degraded) for upscaler in upscalers]
    measured = [results.EvaluationResult.of(record) for record in records]
    return measured if isinstance(model, (list, tuple)) else measured[0]


@overload
def compare(reference: Model, model: Model, data: Images, **options: Unpack[_CompareOptions]) -> results.ComparisonResult: ...


@overload
def compare(
    reference: Model | None, model: Sequence[Model], data: Images, **options: Unpack[_CompareOptions]
) -> results.ModelsComparison: ...


def compare(
    reference: Model | None,
    model: Model | Sequence[Model],
    data: Images,
    *,
    space: str = "y",
    threads: int = 1,
    metrics: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] | None = None,
    degrade: str = "",
    seed: int = 0,
    progress: Progress | None = None,
    device: str | None = None,
    cpu: str | None = None,
    soc: str | None = None,
) -> results.ComparisonResult | results.ModelsComparison:
    """Measure the drop of `model` against `reference`, such as a uint8 file against its float network, or compare a list.

    Args:
        reference: see `load`; also an Upscaler. None with a list of models: no drop is measured.
        model: the model to judge, of the same scale, or a list of models.
        data: see `evaluate`.
        space: 'y' or 'rgb'.
        threads: CPU threads of .tflite and .onnx models.
        metrics: with a list of models: further metrics by name, functions of (SR, HR), [H, W, 3] uint8, such as LPIPS.
        degrade, seed: see `evaluate`.
        progress: called with (images done, name).
        device, cpu, soc: of `model`, see `load`.
    Returns: a ComparisonResult, or a ModelsComparison of a list; its `save(folder)` writes the HTML report.
    Raises: ValueError (mobile_sr.UserError) as `evaluate`, and when the scales differ.
    """
    from mobile_sr.errors import UserError
    from mobile_sr.evaluation import compare as comparison
    from mobile_sr.evaluation import compare_models
    from mobile_sr.imaging import degradation

    several, degraded = isinstance(model, (list, tuple)), degradation.seeded(degrade, seed)
    if not several and (reference is None or metrics):
        raise UserError("one model without a reference, or with metrics: give a list of models")
    first = None if reference is None else load(reference, None, threads)
    upscalers = [] if first is None else [first]
    for entry in _several(model):
        scale = upscalers[0].scale if upscalers else None
        upscalers.append(load(entry, scale, threads, device=device, cpu=cpu, soc=soc))
    judged = upscalers[1:] if first else upscalers
    if first and not several:
        if first.scale != judged[0].scale:
            raise UserError(f"reference {first.name} has scale {first.scale}, model {judged[0].name} has {judged[0].scale}")
        return results.ComparisonResult.of(*comparison.compare(first, judged[0], _images(data), space, progress, degraded))
    record, crops = compare_models.compare_models(judged, first, _images(data), space, progress, metrics, threads, degraded)
    return results.ModelsComparison.of(record, crops)


def _several(model: Model | Sequence[Model]) -> list[Model]:
    """A list of models, or the only one as a list."""
    from mobile_sr.errors import UserError

    if not isinstance(model, (list, tuple)):
        return [model]
    if not model:
        raise UserError("no models: the list is empty")
    return list(model)


def write_report(comparison: results.ComparisonResult | results.ModelsComparison, folder: str | Path) -> Path:
    """Write the report of a comparison: report.html, report.md, report.json; returns the path of report.html."""
    from mobile_sr.evaluation import models_report, report

    if isinstance(comparison, results.ModelsComparison):
        return models_report.write(folder, comparison.to_dict(), comparison.crops)
    return report.write(folder, comparison.to_dict(), comparison.crops)


def benchmark(
    models: str | Path | Sequence[str | Path],
    *,
    size: tuple[int, int] | None = None,
    threads: int = 1,
    runs: int = 20,
    warmup: int = 3,
    layers: bool = False,
    progress: Progress | None = None,
    device: str | None = None,
    cpu: str | None = None,
    soc: str | None = None,
) -> results.BenchmarkResult:
    """Measure latency and memory of .tflite files on this machine, interleaved; or their figures on a virtual device.

    Args:
        models: .tflite files or packaged ones ('xlsr_x3:uint8'); ratios refer to the first.
        size: LR (height, width); None is the files' own, else 360x640, or 64x64 on a virtual device.
        threads: CPU threads.
        runs: timed rounds. warmup: rounds before them.
        layers: estimate the CPU time of each operator, too, or its instructions.
        progress: called with (rounds done, what runs).
        device, cpu, soc: see `load`; also 'virtual:ethos-u', which only compiles. No times; threads, runs and warmup do not
            apply.
    Raises: ValueError (mobile_sr.UserError) for an unusable file, size or device.
    """
    from mobile_sr.benchmarking import benchmark as benchmarking
    from mobile_sr.benchmarking import virtual

    names = [models] if isinstance(models, (str, Path)) else list(models)
    if chosen := _device(device, cpu, soc):
        return results.BenchmarkResult.of(virtual.measure(names, chosen, size, layers, progress))
    return results.BenchmarkResult.of(benchmarking.benchmark(names, size, threads, runs, warmup, layers, progress))


def inspect(
    model: str | Path,
    reference: str | Path | None = None,
    data: Images | None = None,
    *,
    space: str = "y",
    crops: int | None = None,
    threads: int = 1,
    device: str | None = None,
    cpu: str | None = None,
    soc: str | None = None,
    progress: Progress | None = None,
) -> results.InspectionResult:
    """Report operators, partitions and checks of a .tflite; with `reference`, locate its quantization error by layers.

    Of a float network of another format, the operators or layers, parameters, inputs and outputs are reported.

    Args:
        model: .tflite file or a packaged one; without a reference also a network from elsewhere, as for `export`.
        reference: the float .tflite of the same network.
        data: with `reference`: images as of `evaluate`; None for the packaged sample images.
        space, threads, progress: see `evaluate`.
        crops: number of images on which the layers are measured; None is 16, or fewer at a large fixed size.
        device, cpu, soc: a virtual device that also opens the model, a .tflite, as for `load`; 'virtual:ethos-u' only compiles.
            The operators that it supports are the key "compiled" of the result's `to_dict()`.
    Raises: ValueError (mobile_sr.UserError) for unusable files, files of different networks, or a device that is not installed.
    """
    from mobile_sr.evaluation import network_facts

    chosen = _device(device, cpu, soc)
    record, layers = network_facts.inspect(model), None
    if chosen:
        from mobile_sr.benchmarking import virtual

        record["compiled"] = virtual.compile_for(model, chosen)
    if reference is not None:
        from mobile_sr.imaging import sample_images
        from mobile_sr.quantization import quantization_debugger

        images = sample_images.images(sample_images.EVALUATION) if data is None else _images(data)
        layers = quantization_debugger.locate(reference, model, images, space, crops, threads, progress)
    return results.InspectionResult.of(str(model), record, layers)


def _device(name: str | None, cpu: str | None, soc: str | None) -> Device | None:
    """The virtual device of three arguments; None without a name."""
    from mobile_sr.devices import names
    from mobile_sr.errors import UserError

    if name is not None:
        return names.find(name, cpu, soc)
    if cpu is not None or soc is not None:
        raise UserError("cpu and soc require device")
    return None


def _is_keras(model: Any) -> bool:
    """Whether an object is a Keras model, without importing Keras for those that are not."""
    return any(base.__module__.split(".")[0] == "keras" for base in type(model).__mro__)


def _recipe(
    name: str | Recipe | Callable[..., Recipe],
    smoke: bool,
    steps: int | None,
    seed: int | None,
    fields: Mapping[str, Any],
    backend: str | None,
    net: str | Callable[..., Any] | None = None,
) -> Recipe:
    """The recipe called `name`, with the values of `fields`."""
    from mobile_sr import backend as backends
    from mobile_sr.training import recipes

    texts = {key: ",".join(map(str, v)) if isinstance(v, (list, tuple)) else str(v) for key, v in fields.items()}
    settings = [f"{key}={text}" for key, text in texts.items()]
    if recipes.needs_keras(name, net, settings):
        backends.choose_backend(backend)
    recipe = recipes.load(name, smoke, steps, seed, net)
    recipes.override(recipe, settings)
    return recipe


def _images(data: Images) -> Any:
    """A folder as it is, or a list of (name, [H, W, 3] uint8)."""
    import numpy as np

    if isinstance(data, (str, Path)):
        return data
    named: list[tuple[str, Any]] = list(data.items()) if isinstance(data, Mapping) else []
    if not isinstance(data, Mapping):
        named = [item if isinstance(item, tuple) else (f"image {k}", item) for k, item in enumerate(data)]
    return [(name, image if isinstance(image, np.ndarray) else np.asarray(image.convert("RGB"))) for name, image in named]
