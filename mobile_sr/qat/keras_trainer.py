"""Quantization-aware training in Keras 3: prepares a network, fine-tunes it in this process and exports the result."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr import __version__, backend, models
from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError
from mobile_sr.files import (
    make_folder,
    read_json,
    sha256_file,
    temporary_folder,
    write_bytes,
    write_json,
)
from mobile_sr.imaging import flat_colours, metrics
from mobile_sr.inference import litert, upscaler, weights
from mobile_sr.inference import sidecar as sidecars
from mobile_sr.qat import keras_ranges, keras_start
from mobile_sr.qat.history import History
from mobile_sr.quantization import export, verification
from mobile_sr.quantization.calibration import calibration_set
from mobile_sr.training import dataset, train_loop

if TYPE_CHECKING:
    from mobile_sr.models.train_time.quantized_network import QuantizedNetwork
    from mobile_sr.qat.keras_fine_tune import FineTuning
    from mobile_sr.qat.keras_start import Start
    from mobile_sr.qat.settings import Settings

FORMAT = 2  # of config.json
CHECKPOINT = "checkpoint.npz"


@dataclasses.dataclass
class Candidate:
    """A uint8 file.

    Attributes:
        methods: methods of its export.
        score: mean PSNR (RGB) in dB on the held-out images.
        data: its bytes.
        sidecar: its sidecar.
        ranges: {activation of the float .tflite: (low, high)} of learned ranges.
        trained: whether it is of the trained network.
    """

    methods: Sequence[str]
    score: float
    data: bytes
    sidecar: dict[str, Any]
    ranges: Mapping[str, tuple[float, float]] | None = None
    trained: bool = False


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
        (path of the .tflite, its mean PSNR in dB (RGB) on the held-out images).

    Raises:
        UserError: for unusable input.
        export.AuditError: when the .tflite fails its audit.
    """
    backend.require_tensorflow("qat")
    out = Path(out)
    start = keras_start.load(model)
    teacher = start.model.get_weights()
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
    tuning, at_ptq = _prepare(start, settings, crops, model, log)
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
    record = {"engine": "keras", "settings": settings.to_json(), "step": tuning.best[1], "validation_psnr_rgb": tuning.best[0]}
    record |= {"data": trained_on}
    validation = dataset.center_crops(images, held_out, settings.validation_crop)
    with temporary_folder("mobile_sr_qat.") as work:
        sample = crops[0][:, : keras_ranges.SAMPLE_SIDE, : keras_ranges.SAMPLE_SIDE]
        exports = Exports(start, model, sample, settings, source, max_colour_error, validation, work, log)
        chosen, scores = choose(exports, tuning, at_ptq, log)
    record |= {"methods": list(chosen.methods), "file_psnr_rgb": scores, "trained": chosen.trained}
    if not chosen.trained:  # the network of export's file
        start.model.set_weights(teacher)
    else:
        record |= {"ranges": tuning.ranges(), "tensor_ranges": chosen.ranges, "export_methods": list(chosen.methods)}
    best = out / f"best{start.suffix}"
    stored = ("step", "validation_psnr_rgb", "trained", "tensor_ranges", "export_methods")
    start.save(best, {key: record[key] for key in stored if key in record})
    chosen.sidecar["weights"] = {"file": best.name, "sha256": sha256_file(best)}
    if chosen.trained:
        agreement = verification.measure_agreement(tuning.upscale, _runner(chosen.data), start.scale)
        chosen.sidecar["agreement_with_fake_quantized"] = agreement
    target = out / f"{start.name}_uint8.tflite"
    write_bytes(target, chosen.data)
    sidecars.write(target, {**chosen.sidecar, "qat": record})
    (out / CHECKPOINT).unlink(missing_ok=True)
    return target, chosen.score


def choose(
    exports: Exports, tuning: FineTuning, at_ptq: bool, log: Callable[[str], object]
) -> tuple[Candidate, dict[str, float | None]]:
    """Return the better of the uint8 files with and without training on the held-out images, and the scores of both.

    Without an improvement, it is the file of `export`.

    Raises:
        export.AuditError: no file passes the audit.
    """
    found: dict[str, Candidate] = {}
    failure: export.AuditError | None = None
    is_trained = tuning.best[1] > 0 or not at_ptq
    for name, make in (("ptq", exports.ptq), ("qat", lambda: exports.trained(tuning.net))):
        if name == "qat" and found and not is_trained:
            continue  # the same file
        try:
            found[name] = make()
        except export.AuditError as error:
            failure = error
            log(f"{name.upper()}: {error}")
    if failure and not found:
        raise failure
    scores = {name: found[name].score if name in found else None for name in ("ptq", "qat")}
    best = max(found, key=lambda name: found[name].score)  # the first of equal ones
    for name, score in scores.items():
        log(f"{name.upper()}: {'no file' if score is None else f'{score:.3f} dB (RGB) on held-out images'}")
    if best == "ptq":
        log("no trained state is better than post-training quantization: the file is that of mobile-sr export")
    return found[best], scores


def _check_same(out: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise UserError if the run in `out` is not the one to resume, or is finished."""
    new = json.loads(json.dumps(new))
    for key in ("engine", "init", "data", "qat"):
        if old.get(key) != new[key]:
            what = next((k for k, v in new[key].items() if old.get(key, {}).get(k) != v), key) if key == "qat" else key
            raise UserError(f"{out}: cannot resume: {what} differs from the run's; start a new run with another --out")
    if any(out.glob("*_uint8.tflite")):
        raise UserError(f"{out}: the run is complete; there is nothing to resume")


def _prepare(
    start: Start, settings: Settings, crops: Sequence[np.ndarray], model: str | Path, log: Callable[[str], object]
) -> tuple[FineTuning, bool]:
    """Set up the training from the weights and ranges of `export`'s file. Also returns whether it starts from exactly these."""
    from mobile_sr.qat import keras_fine_tune

    try:
        keras_fine_tune.QuantizedNetwork(start.model)  # names a layer that is not supported, before the slow part
        with quiet():
            if settings.equalize and not settings.per_tensor:
                keras_start.mix(start, crops)
            teacher = start.model.get_weights()
            rounded = settings.rounded_weights
            reason = keras_start.prepare(start, crops, settings.equalize, settings.per_tensor, rounded)
        if reason:
            log(f"{model}: the initial weights are not those of export's uint8 file: {reason}")
        with quiet():
            tuning = keras_fine_tune.FineTuning(start.model, teacher, settings, crops, start.io)
            if settings.ranges == "learned":  # measured ones are the whole ranges again after each validation
                keras_start.clip_ranges(start, tuning.net, crops)
                tuning.begin()
            return tuning, rounded and not reason
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{model}: {error}") from None


@dataclasses.dataclass
class Exports:
    """Exports candidates and scores them on the held-out images. The attributes are the arguments of `train`, and:

    Attributes:
        sample: one calibration image.
        validation: LR and HR crops of the held-out images.
        work: temporary folder.
    """

    start: Start
    model: str | Path
    sample: np.ndarray
    settings: Settings
    calibration: str | Path
    max_colour_error: int
    validation: tuple[np.ndarray, np.ndarray]
    work: Path
    log: Callable[[str], object]

    def ptq(self) -> Candidate:
        """Post-training quantization of the network that the training started from, as `export` makes it."""
        return self._export("PTQ", self.model, methods=export.METHODS)

    def trained(self, net: QuantizedNetwork) -> Candidate:
        """The trained network, with its ranges if they were learned.

        Weights that the training rounded are rounded to nearest, others by the methods of `export`: the better of two files,
        with and without `fit`. Fitting repeats the float network layer by layer, also where the training found results that
        suit 8 bits better.

        Raises:
            export.AuditError: as for export.export, or a flat colour is too far from the network before the training: a range
                does not cover it, or the training changed it.
        """
        file = self.work / f"{self.start.name}{self.start.suffix}"
        self.start.save(file, {})
        ranges = None
        if self.settings.ranges == "learned":
            source = self.start.source(file)
            ranges = keras_ranges.of_tensors(net, source.data, source.samples([self.sample])[0])
        options = {} if self.start.config is not None else {"options": self.start.options}
        unfitted = ("round",) if ranges else ("round", "clip")
        choices: list[tuple[str, ...]] = [()] if self.settings.rounded_weights else [unfitted, (*unfitted, "fit")]
        candidates = []
        for methods in choices:
            label = "QAT, fitted" if "fit" in methods else "QAT"
            try:
                candidates.append(self._export(label, file, methods=methods, ranges=ranges, **options))
            except export.AuditError as error:
                if methods == choices[-1] and not candidates:
                    raise
                self.log(f"{label}: {error}")
        made = dataclasses.replace(max(candidates, key=lambda candidate: candidate.score), trained=True)
        errors, check = verification.colour_check(self.start.source(), made.data, self.max_colour_error)
        if not check["passed"]:
            raise export.AuditError(f"uint8: {flat_colours.describe(errors)} of the network before the training")
        return made

    def _export(self, label: str, model: str | Path, methods: Sequence[str], **arguments: Any) -> Candidate:
        folder = self.work / label
        (made,) = export.export(
            model,
            folder,
            ["uint8"],
            calibration=self.calibration,
            seed=self.settings.seed,
            per_tensor=self.settings.per_tensor,
            methods=methods,
            max_colour_error=self.max_colour_error,
            log=lambda line: self.log(f"{label}: {line.replace(f'{folder}/', '')}"),
            **arguments,
        )
        data = made.read_bytes()
        run = _runner(data)
        pairs = zip(*self.validation, strict=True)
        score = float(np.mean([metrics.psnr(run(lr), hr, "rgb", self.start.scale) for lr, hr in pairs]))
        return Candidate(methods, score, data, read_json(sidecars.path_of(made)), arguments.get("ranges"))


def _runner(data: bytes) -> Callable[[np.ndarray], np.ndarray]:
    run = litert.TFLiteModel(data).run
    return functools.partial(_uint8, run)


def _uint8(run: Callable[[np.ndarray], np.ndarray], image: np.ndarray) -> np.ndarray:
    return upscaler.to_uint8(run(image))
