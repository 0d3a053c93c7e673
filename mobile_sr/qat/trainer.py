"""The main process of quantization-aware training: prepares the job, runs child.py, builds, audits and writes the files."""

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from mobile_sr import __version__, models
from mobile_sr.converters import cross_layer_equalization
from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError
from mobile_sr.files import check_folder, make_folder, sha256_file, temporary_folder, write_bytes, write_json, write_text
from mobile_sr.inference import litert, upscaler, weights
from mobile_sr.inference import sidecar as sidecars
from mobile_sr.qat import description
from mobile_sr.quantization.calibration import calibration_set
from mobile_sr.training import dataset

FORMAT = 1
CHILD = (sys.executable, "-m", "mobile_sr.qat.worker")
AGREEMENT_DB = 40.0  # the file against the fake-quantized net; roundings that fall differently alone gave 46 to 61 dB


class QatError(Exception):
    """The child process failed in a way that the user's input does not explain."""


def train(model, folder, out, settings, *, cache=None, calibration=None, log=print):
    """Fine-tune `model` with fake quantization on the images of `folder` and write NAME_uint8.tflite and more into `out`.

    Besides the .tflite and its sidecar .json: best.npz (the Keras 3 weights), history.csv and config.json.
    Args:
        model: zoo name, .npz model file or run folder. settings: settings.Settings.
        calibration: folder of images on which the first ranges are measured; None takes `folder`.
        cache: see data.TrainingImages. log: gets a line for each stage; the progress goes to standard error.
    Returns: (path of the .tflite, best validation PSNR in dB (RGB)).
    Raises: UserError for unusable input, QatError when the child fails, export.AuditError when its file is not as promised.
    """
    from mobile_sr.inference import model_files
    from mobile_sr.quantization import export

    if find_spec("tensorflow_model_optimization") is None or find_spec("tf_keras") is None:
        raise UserError("qat needs tensorflow-model-optimization and tf_keras: pip install 'mobile-sr[train]'")
    file, name = model_files.trained(model)
    if models.has_depth(weights.read_arrays(file)[1].get("config", {})):
        raise UserError(f"{model}: networks with depth masks are not fine-tuned with fake quantization; export them")
    out = Path(out)
    if (out / "config.json").exists():
        raise UserError(f"{out}: already holds a run; use another --out")
    check_folder(out)
    export.require_tensorflow("qat")
    with quiet():
        keras_model, config = weights.load_model(file)
    images = dataset.TrainingImages(folder, config["scale"], cache, smallest=settings.patch)
    settings = settings.fit([min(lr.shape[:2]) for lr in images.lr])
    _, held_out = dataset.split_validation(images, settings.validation_images, settings.validation_crop)
    crops, record = calibration_set(calibration or folder, config["scale"], settings.seed)
    if settings.equalize:
        with quiet():
            keras_model.set_weights(cross_layer_equalization.equalize(keras_model, crops, settings.equalize)[0])
    nodes, arrays = description.describe(keras_model)
    job = {"nodes": nodes, "settings": settings.to_json(), "scale": config["scale"], "data": str(Path(folder).resolve())}
    job["cache"] = str(Path(cache or dataset.default_cache()).resolve())
    inputs = {f"weights/{name}": value for name, value in arrays.items()}
    inputs.update({f"calibration/{k}": crop for k, crop in enumerate(crops)})
    inputs["test_card"] = export.test_card(48, 64)
    make_folder(out)
    with temporary_folder("mobile_sr_qat.") as place:
        weights.write_arrays(place / "job.npz", inputs, job)
        log(f"{model}: fine-tuning with fake quantization in a process of its own ...")
        history = _History(out / "history.csv", settings.steps)
        _run_child(place, history.add)
        outputs, found = weights.read_arrays(place / "result.npz")
    description.assign(keras_model, {k.removeprefix("weights/"): v for k, v in outputs.items() if k.startswith("weights/")})
    weights.save_model(out / "best.npz", keras_model, config, {**found, "recipe": "qat"})
    tflite = outputs["tflite"].tobytes()
    sidecar = _sidecar(keras_model, config, settings, tflite, inputs["test_card"], outputs["test_card"])
    sidecar["calibration"] = record
    sidecar["weights"] = {"file": "best.npz", "sha256": sha256_file(out / "best.npz")}
    trained_on = {"sha256": images.sha256, "images": len(images), "held_out": [images.names[i] for i in held_out]}
    sidecar["qat"] = {"settings": settings.to_json(), **found, "data": trained_on}
    target = out / f"{name}_uint8.tflite"
    write_bytes(target, tflite)
    sidecars.write(target, sidecar)
    start = {"file": str(file), "sha256": sha256_file(file)}
    run = {"format": FORMAT, "qat": settings.to_json(), "network": config, "init": start, "data": trained_on}
    write_json(out / "config.json", {**run, "versions": {"mobile_sr": __version__, **_versions()}})
    log(f"{target}: {len(tflite):,} bytes, audit passed ({len(sidecar['audit']['checks'])} checks)")
    return target, found["validation_psnr_rgb"]


def _sidecar(keras_model, config, settings, tflite, card, fake_quantized):
    """The sidecar of the child's file. Raises: export.AuditError."""
    from mobile_sr.quantization import export

    facts, checks = export.audit_file(tflite, keras_model, config, "uint8", settings.per_tensor)
    facts["colour_error"], check = export.colour_check(keras_model, tflite, config)
    checks.append(check)
    partitions = litert.delegate_partitions(tflite)
    checks.append({"check": "one XNNPACK partition", "passed": partitions == 1, "found": partitions})
    run = litert.TFLiteModel(tflite).run
    size = card.shape[:2]
    agreement = {
        "agreement_with_keras": export.measure_agreement(upscaler.keras_runner(keras_model), run, config, size),
        "agreement_with_fake_quantized": export.measure_agreement(lambda image: fake_quantized, run, config, size),
    }
    psnr = agreement["agreement_with_fake_quantized"]["psnr_rgb"]
    what = f"output within {AGREEMENT_DB:.0f} dB of the fake-quantized network"
    checks.append({"check": what, "passed": psnr >= AGREEMENT_DB, "found": psnr})
    sidecar = export.make_sidecar(config, "uint8", facts, tflite, checks, agreement)
    sidecar["versions"].update(_versions())
    return sidecar


def _versions():
    from importlib.metadata import version

    return {package: version(package) for package in ("tensorflow-model-optimization", "tf_keras")}


def _run_child(place, on_event):
    """Run child.py on place/job.npz; on_event gets what it says. Raises: UserError, QatError, each in one line."""
    command = (*CHILD, str(place / "job.npz"), str(place / "result.npz"))
    env = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    with open(place / "stderr", "w+b") as errors:
        # A session of its own: Ctrl-C reaches this process alone, which then ends the child.
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=env, text=True, start_new_session=True
        )
        try:
            for line in child.stdout:
                event = json.loads(line)
                if "error" in event:
                    raise UserError(event["error"])
                on_event(event)
            status = child.wait()
        finally:
            child.kill()
            child.wait()
            child.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                child.stdin.close()
        if status:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines()
            how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"status {status}"
            raise QatError(f"the process that trains failed: {' | '.join([how, *lines[-1:]])}")


class _History:
    """Progress on standard error and history.csv."""

    def __init__(self, path, steps):
        self.path, self.steps, self.rows, self.best = path, steps, [], float("-inf")
        self._tty = sys.stderr.isatty()

    def add(self, event):
        """Take an event of the child."""
        step, loss, psnr, speed = (event[key] for key in ("step", "loss", "psnr", "steps_per_s"))
        text = f"step {step}/{self.steps}"
        if loss is not None:
            left = int((self.steps - step) / max(speed, 1e-9))
            text += f"  loss {loss:.6f}  {speed:.1f} steps/s  left {left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
        if psnr is None:
            if self._tty:
                print(text.ljust(100), end="\r", file=sys.stderr, flush=True)
            return
        self.best = max(self.best, psnr)
        text += f"  validation {psnr:.3f} dB (best {self.best:.3f})"
        print(text.ljust(100) if self._tty else text, file=sys.stderr, flush=True)
        self.rows.append((step, "" if loss is None else round(loss, 8), round(psnr, 4)))
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("step", "loss", "validation_psnr_rgb"))
        writer.writerows(self.rows)
        write_text(self.path, table.getvalue())
