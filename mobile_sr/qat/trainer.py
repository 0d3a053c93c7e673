"""Quantization-aware training, main process: prepares the job, runs worker.py, audits and writes the files."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_sr import __version__, backend, models
from mobile_sr.converters.quantization import keras_sync
from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError
from mobile_sr.files import cache_folder, check_folder, make_folder, sha256_file, temporary_folder, write_bytes, write_json
from mobile_sr.inference import litert, weights
from mobile_sr.inference import sidecar as sidecars
from mobile_sr.qat import description
from mobile_sr.qat.history import History
from mobile_sr.quantization import source as sources
from mobile_sr.quantization import verification
from mobile_sr.quantization.calibration import calibration_set
from mobile_sr.training import dataset

if TYPE_CHECKING:
    import keras
    import numpy as np

    from mobile_sr.qat.settings import Settings

FORMAT = 1  # of config.json
WORKER = (sys.executable, "-m", "mobile_sr.qat.worker")
# Minimum PSNR between the file and the fake-quantized network. Different rounding alone was measured at 46 to 61 dB.
AGREEMENT_DB = 40.0


class QatError(Exception):
    """The worker process failed for a reason other than the user's input."""


def train(
    model: str | Path,
    folder: str | Path,
    out: str | Path,
    settings: Settings,
    *,
    cache: str | Path | None = None,
    calibration: str | Path | None = None,
    log: Callable[[str], object] = print,
) -> tuple[Path, float]:
    """Fine-tune a model with fake quantization and write NAME_uint8.tflite with its sidecar into `out`.

    Also writes best.npz (the Keras 3 weights), history.csv and config.json.

    Args:
        model: zoo name, .npz model file or run folder.
        folder: folder of training images.
        out: output folder.
        settings: settings of the training.
        cache: folder of decoded images, see dataset.TrainingImages.
        calibration: folder of images from which the initial ranges are measured; None is `folder`.
        log: called with a line for each stage. The progress goes to standard error.

    Returns:
        (path of the .tflite, best validation PSNR in dB (RGB)).

    Raises:
        UserError: for unusable input.
        QatError: when the worker process fails.
        export.AuditError: when the .tflite fails its audit.
    """
    from mobile_sr.inference import model_files

    if find_spec("tensorflow_model_optimization") is None or find_spec("tf_keras") is None:
        raise UserError("qat needs tensorflow-model-optimization and tf_keras: pip install 'mobile-sr[train]'")
    file, name = model_files.trained(model)
    if models.has_depth(weights.read_arrays(file)[1].get("config", {})):
        instead = f"mobile-sr train --init {model} --set activation_bits=8, then mobile-sr export"
        raise UserError(f"{model}: qat does not support networks with depth masks; use {instead}")
    out = Path(out)
    if (out / "config.json").exists():
        raise UserError(f"{out}: already contains a run; use another --out")
    check_folder(out)
    backend.require_tensorflow("qat")
    settings = dataclasses.replace(settings, flat_share=0.0)
    with quiet():
        keras_model, config = weights.load_model(file)
    description.describe(keras_model)  # names a layer that is not supported, before the slow part
    images = dataset.TrainingImages(folder, config["scale"], cache, smallest=settings.patch)
    settings = settings.fit([min(lr.shape[:2]) for lr in images.lr])
    _, held_out = dataset.split_validation(images, settings.validation_images, settings.validation_crop)
    crops, record = calibration_set(calibration or folder, config["scale"], settings.seed)
    if settings.equalize:
        with quiet(), contextlib.suppress(ValueError):  # the converter merges weights: they stay as they are
            keras_sync.equalize(keras_model, crops, settings.equalize, models.build_for_export(config))
    nodes, arrays = description.describe(keras_model)
    job = {"nodes": nodes, "settings": settings.to_json(), "scale": config["scale"], "data": str(Path(folder).resolve())}
    job["cache"] = str(Path(cache or cache_folder()).resolve())
    inputs = {f"weights/{name}": value for name, value in arrays.items()}
    inputs.update({f"calibration/{k}": crop for k, crop in enumerate(crops)})
    inputs["test_card"] = verification.test_card(48, 64)
    make_folder(out)
    with temporary_folder("mobile_sr_qat.") as job_folder:
        weights.write_arrays(job_folder / "job.npz", inputs, job)
        log(f"{model}: fine-tuning with fake quantization in a separate process ...")
        history = History(out / "history.csv", settings.steps)
        _run_worker(job_folder, history.add)
        outputs, result = weights.read_arrays(job_folder / "result.npz")
    description.assign(keras_model, {k.removeprefix("weights/"): v for k, v in outputs.items() if k.startswith("weights/")})
    weights.save_model(out / "best.npz", keras_model, config, {**result, "recipe": "qat"})
    tflite = outputs["tflite"].tobytes()
    sidecar = _sidecar(keras_model, config, settings, tflite, inputs["test_card"], outputs["test_card"])
    sidecar["calibration"] = record
    sidecar["weights"] = {"file": "best.npz", "sha256": sha256_file(out / "best.npz")}
    trained_on = {"sha256": images.sha256, "images": len(images), "held_out": [images.names[i] for i in held_out]}
    sidecar["qat"] = {"settings": settings.to_json(), **result, "data": trained_on}
    target = out / f"{name}_uint8.tflite"
    write_bytes(target, tflite)
    sidecars.write(target, sidecar)
    start = {"file": str(file), "sha256": sha256_file(file)}
    run = {"format": FORMAT, "qat": settings.to_json(), "network": config, "init": start, "data": trained_on}
    write_json(out / "config.json", {**run, "versions": {"mobile_sr": __version__, **_versions()}})
    log(f"{target}: {len(tflite):,} bytes, audit passed ({len(sidecar['audit']['checks'])} checks)")
    return target, result["validation_psnr_rgb"]


def _sidecar(
    keras_model: keras.Model,
    config: dict[str, Any],
    settings: Settings,
    tflite: bytes,
    card: np.ndarray,
    fake_quantized: np.ndarray,
) -> dict[str, Any]:
    """Audit the worker's .tflite and return its sidecar.

    Args:
        keras_model: the fine-tuned Keras model.
        config: its configuration.
        settings: settings of the training.
        tflite: the file's bytes.
        card: [H, W, 3] uint8 test card.
        fake_quantized: [H * s, W * s, 3] output of the fake-quantized network for it.

    Raises:
        export.AuditError: when the file fails the audit.
    """
    from mobile_sr.quantization import export

    source = sources.from_keras(keras_model, config)
    facts, checks = verification.audit_file(tflite, source, "uint8", settings.per_tensor)
    facts["colour_error"], check = verification.colour_check(source, tflite)
    checks.append(check)
    partitions = litert.delegate_partitions(tflite)
    checks.append({"check": "one XNNPACK partition", "passed": partitions == 1, "found": partitions})
    run = litert.TFLiteModel(tflite).run
    size = card.shape[:2]
    agreement = {
        "agreement_with_keras": verification.measure_agreement(source.run, run, source.scale, size),
        "agreement_with_fake_quantized": verification.measure_agreement(lambda image: fake_quantized, run, source.scale, size),
    }
    psnr = agreement["agreement_with_fake_quantized"]["psnr_rgb"]
    what = f"output within {AGREEMENT_DB:.0f} dB of the fake-quantized network"
    checks.append({"check": what, "passed": psnr >= AGREEMENT_DB, "found": psnr})
    sidecar = export.make_sidecar(source, "uint8", facts, tflite, checks, agreement)
    sidecar["versions"].update(_versions())
    return sidecar


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {package: version(package) for package in ("tensorflow-model-optimization", "tf_keras")}


def _run_worker(folder: Path, on_event: Callable[[dict[str, Any]], object]) -> None:
    """Run worker.py on folder/job.npz and pass its events to `on_event`. Raises UserError or QatError, each with one line."""
    command = (*WORKER, str(folder / "job.npz"), str(folder / "result.npz"))
    env = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    with open(folder / "stderr", "w+b") as errors:
        # In a new session, Ctrl-C reaches only this process, which then stops the worker.
        worker = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=env, text=True, start_new_session=True
        )
        assert worker.stdin is not None  # it is a pipe
        assert worker.stdout is not None
        try:
            for line in worker.stdout:
                event = json.loads(line)
                if "error" in event:
                    raise UserError(event["error"])
                on_event(event)
            status = worker.wait()
        finally:
            worker.kill()
            worker.wait()
            worker.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                worker.stdin.close()
        if status:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines()
            how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"status {status}"
            raise QatError(f"the training process failed: {' | '.join([how, *lines[-1:]])}")
