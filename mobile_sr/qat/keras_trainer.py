"""Quantization-aware training in Keras 3: prepares a network, fine-tunes it in this process and exports the result."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr import __version__, backend, models
from mobile_sr.converters.quantization import keras_sync
from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError
from mobile_sr.files import (
    atomic_path,
    make_folder,
    read_json,
    sha256_file,
    temporary_folder,
    write_bytes,
    write_json,
)
from mobile_sr.imaging import flat_colours, metrics
from mobile_sr.inference import keras_archive, litert, model_files, model_io, upscaler, weights
from mobile_sr.inference import sidecar as sidecars
from mobile_sr.qat.history import History
from mobile_sr.quantization import export, verification
from mobile_sr.quantization.calibration import calibration_set
from mobile_sr.training import dataset, train_loop

if TYPE_CHECKING:
    import keras

    from mobile_sr.qat.keras_fine_tune import FineTuning
    from mobile_sr.qat.settings import Settings

FORMAT = 2  # of config.json
RECIPES: tuple[Sequence[str], ...] = ((), export.METHODS)  # methods of export that are tried
CHECKPOINT = "checkpoint.npz"


@dataclasses.dataclass
class _Start:
    """The network that a training starts from; `config` is None for a foreign .keras file."""

    model: keras.Model
    file: Path
    name: str
    scale: int
    config: dict[str, Any] | None
    io: model_io.ModelIO

    @property
    def suffix(self) -> str:
        return ".npz" if self.config is not None else ".keras"

    def save(self, path: Path, meta: Mapping[str, Any]) -> None:
        """Write the network to `path`, which ends in `suffix`."""
        if self.config is not None:
            weights.save_model(path, self.model, self.config, {**meta, "recipe": "qat"})
        else:
            with atomic_path(path) as temporary:
                self.model.save(temporary)


def train(
    model: str | Path,
    folder: str | Path,
    out: str | Path,
    settings: Settings,
    *,
    cache: str | Path | None = None,
    calibration: str | Path | None = None,
    resume: bool = False,
    max_colour_error: int = flat_colours.QUANTIZATION_LIMIT,
    log: Callable[[str], object] = print,
) -> tuple[Path, float]:
    """Fine-tune a network with fake quantization, then export it: NAME_uint8.tflite with its sidecar in `out`.

    Also writes best.npz (best.keras for a foreign network), history.csv, config.json and, during the training, a checkpoint.

    Args:
        model: zoo name, .npz model file, run folder, or a .keras file with a functional network.
        folder: folder of training images.
        out: output folder.
        settings: settings of the training.
        cache: folder of decoded images, see dataset.TrainingImages.
        calibration: folder of images from which activation ranges are measured; None is `folder`.
        resume: continue the training in `out` from its last checkpoint.
        max_colour_error: as for export.export.
        log: called with a line for each stage. The progress goes to standard error.

    Returns:
        (path of the .tflite, best validation PSNR in dB (RGB)).

    Raises:
        UserError: for unusable input.
        export.AuditError: when the .tflite fails its audit.
    """
    backend.require_tensorflow("qat")
    out = Path(out)
    start = _load(model)
    config_file = train_loop.check_run_folder(out, resume)
    smallest = max(settings.patch, models.smallest_side(start.config) if start.config else 1)
    images = dataset.TrainingImages(folder, start.scale, cache, smallest=smallest)
    settings = settings.fit([min(lr.shape[:2]) for lr in images.lr])
    _, held_out = dataset.split_validation(images, settings.validation_images, settings.validation_crop)
    trained_on = {"sha256": images.sha256, "images": len(images), "held_out": [images.names[i] for i in held_out]}
    init = {"file": str(start.file), "sha256": sha256_file(start.file)}
    run = {"format": FORMAT, "engine": "keras", "qat": settings.to_json(), "network": start.config, "init": init}
    run = {**run, "data": trained_on, "versions": {"mobile_sr": __version__, "keras": version("keras")}}
    if resume:
        _check_same(out, read_json(config_file), run)
    source = calibration or folder
    crops, _ = calibration_set(source, start.scale, settings.seed)
    tuning = _prepare(start, settings, crops, model)
    make_folder(out)
    write_json(config_file, run)
    rows: Sequence[Sequence[Any]] = ()
    if resume and (out / CHECKPOINT).exists():
        arrays, meta = weights.read_arrays(out / CHECKPOINT)
        tuning.restore(arrays, meta)
        rows = meta["history"]
    history = History(out / "history.csv", settings.steps, rows)

    def report(step: int, loss: float | None, score: float | None, speed: float | None) -> None:
        history.add({"step": step, "loss": loss, "psnr": score, "steps_per_s": speed})

    def save() -> None:
        arrays, meta = tuning.checkpoint()
        weights.write_arrays(out / CHECKPOINT, arrays, {**meta, "history": history.rows})

    log(f"{model}: fine-tuning with fake quantization ...")
    tuning.run(images, report, save)
    tuning.use_best()
    result = {"step": tuning.best[1], "validation_psnr_rgb": tuning.best[0]}
    start.save(out / f"best{start.suffix}", result)
    record = {"engine": "keras", "settings": settings.to_json(), **result, "ranges": tuning.ranges(), "data": trained_on}
    validation = dataset.center_crops(images, held_out, settings.validation_crop)
    target = _export(start, out, settings, source, max_colour_error, record, tuning, validation, log)
    (out / CHECKPOINT).unlink(missing_ok=True)
    return target, tuning.best[0]


def _load(model: str | Path) -> _Start:
    """Load the network. Raises UserError for one that cannot be trained."""
    name, options = model_files.split(model)
    if Path(name).suffix.lower() == ".keras":
        file = model_files.find(name)
        archive = keras_archive.KerasArchive(file, options)
        keras_model = archive._model
        if not hasattr(keras_model, "_nodes_by_depth"):
            keras_model = getattr(keras_model, "_functional", None)  # of a Sequential model
        if not hasattr(keras_model, "_nodes_by_depth"):
            raise UserError(f"{model}: qat needs a functional or sequential network, not a subclass of keras.Model")
        if archive.fixed:
            raise UserError(f"{model}: its input size is fixed; qat needs a network for inputs of any height and width")
        return _Start(keras_model, file, file.stem, archive.scale, None, archive.io)
    file, base = model_files.trained(model)
    if models.has_depth(weights.read_arrays(file)[1].get("config", {})):
        raise UserError(f"{model}: qat does not support networks with depth masks; use mobile-sr export")
    with quiet():
        keras_model, config = weights.load_model(file)
    return _Start(keras_model, file, base, config["scale"], config, model_io.ModelIO())


def _check_same(out: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise UserError if the run in `out` is not the one to resume, or is finished."""
    new = json.loads(json.dumps(new))
    for key in ("engine", "init", "data", "qat"):
        if old.get(key) != new[key]:
            what = next((k for k, v in new[key].items() if old.get(key, {}).get(k) != v), key) if key == "qat" else key
            raise UserError(f"{out}: cannot resume: {what} differs from the run's; start a new run with another --out")
    if any(out.glob("*_uint8.tflite")):
        raise UserError(f"{out}: the run is complete; there is nothing to resume")


def _prepare(start: _Start, settings: Settings, crops: Sequence[np.ndarray], model: str | Path) -> FineTuning:
    """Equalize the network and set up its training."""
    from mobile_sr.qat import keras_fine_tune

    teacher = start.model.get_weights()
    try:
        keras_fine_tune.QuantizedNetwork(start.model)  # names a layer that is not supported, before the slow part
        if settings.equalize:
            with quiet():
                _equalize(start, crops, settings.equalize)
        with quiet():
            return keras_fine_tune.FineTuning(start.model, teacher, settings, crops, start.io)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{model}: {error}") from None


def _equalize(start: _Start, crops: Sequence[np.ndarray], strength: float) -> None:
    """Equalize the network in place; one whose weights the converter merges stays as it is."""
    export_form = None if start.config is None else models.build_for_export(start.config)
    with contextlib.suppress(ValueError):
        keras_sync.equalize(start.model, crops, strength, export_form)


def _export(
    start: _Start,
    out: Path,
    settings: Settings,
    calibration: str | Path,
    max_colour_error: int,
    record: dict[str, Any],
    tuning: FineTuning,
    validation: tuple[np.ndarray, np.ndarray],
    log: Callable[[str], object],
) -> Path:
    """Export the fine-tuned network with the exporter's audit, and complete the sidecar.

    The weights are rounded to nearest, as in the training, and once more with the exporter's own methods. Of the two files, the
    one that is better on the held-out images is kept.
    """
    candidates: list[tuple[float, Sequence[str], bytes, dict[str, Any]]] = []
    failure: export.AuditError | None = None
    with temporary_folder("mobile_sr_qat.") as work:
        file = work / f"{start.name}{start.suffix}"
        start.save(file, {})
        for index, methods in enumerate(RECIPES):
            folder = work / f"export{index}"
            try:
                (made,) = export.export(
                    file,
                    folder,
                    ["uint8"],
                    calibration=calibration,
                    seed=settings.seed,
                    per_tensor=settings.per_tensor,
                    methods=methods,
                    max_colour_error=max_colour_error,
                    log=_without(str(folder), str(out), log),
                )
            except export.AuditError as error:
                failure = error
                continue
            score = _score(made, validation, start.scale)
            log(f"{' and '.join(methods) or 'rounded as trained'}: {score:.3f} dB (RGB) on held-out images")
            candidates.append((score, methods, made.read_bytes(), read_json(sidecars.path_of(made))))
    if failure and not candidates:
        raise failure
    score, methods, data, sidecar = max(candidates, key=lambda candidate: candidate[0])
    best = out / f"best{start.suffix}"
    sidecar["weights"] = {"file": best.name, "sha256": sha256_file(best)}
    agreement = verification.measure_agreement(tuning.upscale, _runner(data), start.scale)
    target = out / f"{start.name}_uint8.tflite"
    write_bytes(target, data)
    chosen = {**record, "methods": list(methods), "file_psnr_rgb": score}
    sidecars.write(target, {**sidecar, "agreement_with_fake_quantized": agreement, "qat": chosen})
    return target


def _without(folder: str, out: str, log: Callable[[str], object]) -> Callable[[str], object]:
    """A log that names the output folder instead of a temporary one."""
    return lambda line: log(line.replace(folder, out))


def _score(file: Path, validation: tuple[np.ndarray, np.ndarray], scale: int) -> float:
    """The mean PSNR (RGB) in dB of a .tflite on the held-out crops."""
    run = _runner(file.read_bytes())
    return float(np.mean([metrics.psnr(run(lr), hr, "rgb", scale) for lr, hr in zip(*validation, strict=True)]))


def _runner(data: bytes) -> Callable[[np.ndarray], np.ndarray]:
    run = litert.TFLiteModel(data).run
    return functools.partial(_uint8, run)


def _uint8(run: Callable[[np.ndarray], np.ndarray], image: np.ndarray) -> np.ndarray:
    return upscaler.to_uint8(run(image))
