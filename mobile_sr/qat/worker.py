"""The worker process of quantization-aware training, which may import tfmot: `python -m mobile_sr.qat.worker JOB RESULT`.

trainer.py starts it with TF_USE_LEGACY_KERAS=1. JOB and RESULT are files of weights.write_arrays. It writes one JSON object per
line to standard output: {"step", "loss", "psnr", "steps_per_s"}, with a number in "psnr" after a validation, or {"error"} with
a message about unusable input.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mobile_sr.errors import UserError
from mobile_sr.inference import weights
from mobile_sr.qat.settings import Settings
from mobile_sr.training import dataset


def work(job_file: str, result_file: str, say: Callable[[dict[str, Any]], object]) -> None:
    """Run a job: fine-tune, convert and write the result.

    Args:
        job_file: path of the job.
        result_file: path of the result.
        say: called with each progress event.

    Raises:
        UserError: for unusable images, or when the training diverges.
    """
    arrays, job = weights.read_arrays(job_file)
    settings = Settings.from_json(job["settings"])
    import tensorflow as tf

    from mobile_sr.qat import fine_tune

    tf.keras.utils.set_random_seed(settings.seed)
    tf.config.experimental.enable_op_determinism()
    images = dataset.TrainingImages(job["data"], job["scale"], job["cache"], smallest=settings.patch)
    tuning = fine_tune.FineTuning(job["nodes"], _part(arrays, "weights"), settings, list(_part(arrays, "calibration").values()))

    def report(step: int, loss: float | None, psnr: float | None = None, speed: float | None = None) -> None:
        if loss is not None and not math.isfinite(loss):
            raise UserError(f"the loss is no longer finite at step {step}; use a lower --rate")
        say({"step": step, "loss": loss, "psnr": psnr, "steps_per_s": speed})

    tuning.run(images, report)
    psnr, step, best, ranges = tuning.best
    file, net = fine_tune.convert(job["nodes"], best, ranges, settings.per_tensor)
    card = arrays["test_card"]
    outputs = {
        "tflite": np.frombuffer(file, np.uint8),
        "test_card": net.model(card[None].astype(np.float32) / np.float32(255), training=False).numpy()[0],
        **{f"weights/{name}": value for name, value in best.items()},
    }
    meta = {"step": step, "validation_psnr_rgb": psnr, "ranges": net.named_ranges()}
    weights.write_arrays(result_file, outputs, meta)


def _part(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Return the arrays named 'prefix/...', by the rest of their names."""
    return {name.removeprefix(f"{prefix}/"): value for name, value in arrays.items() if name.startswith(f"{prefix}/")}


def main(argv: Sequence[str]) -> int:
    """Run a job, and exit immediately when the parent process ends.

    Args:
        argv: paths of the job and of the result.

    Returns:
        The exit status: 0, or 2 after an {"error"} line.
    """
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries goes to standard error
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def say(event: dict[str, Any]) -> None:
        print(json.dumps(event), file=channel, flush=True)

    try:
        job_file, result_file = argv
        work(job_file, result_file, say)
    except UserError as error:
        say({"error": str(error)})
        return 2
    return 0


def _end_with_parent() -> None:
    os.read(0, 1)  # returns when the parent closes the pipe; the kernel closes it if the parent is killed
    os._exit(1)


if __name__ == "__main__":
    UserError.names_options = True
    sys.exit(main(sys.argv[1:]))
