"""The process that may import tfmot, started by trainer.py: `python -m mobile_sr.qat.worker JOB RESULT`.

It runs with TF_USE_LEGACY_KERAS=1.
JOB and RESULT are files of weights.write_arrays. On standard output goes one JSON object per line: {"step", "loss"},
with "psnr" where the network was validated, or {"error"}, what is wrong with the data.
"""

import json
import math
import os
import sys
import threading

import numpy as np

from mobile_sr.errors import UserError
from mobile_sr.inference import weights
from mobile_sr.qat.settings import Settings
from mobile_sr.training import dataset


def work(job_file, result_file, say):
    """Do the job: fine-tune, convert, write the result. Raises: UserError for unusable images, or when training diverges."""
    arrays, job = weights.read_arrays(job_file)
    settings = Settings.from_json(job["settings"])
    import tensorflow as tf

    from mobile_sr.qat import fine_tune

    tf.keras.utils.set_random_seed(settings.seed)
    tf.config.experimental.enable_op_determinism()
    images = dataset.TrainingImages(job["data"], job["scale"], job["cache"], smallest=settings.patch)
    tuning = fine_tune.FineTuning(job["nodes"], _part(arrays, "weights"), settings, list(_part(arrays, "calibration").values()))

    def report(step, loss, psnr=None, speed=None):
        if loss is not None and not math.isfinite(loss):
            raise UserError(f"the loss was no number any more at step {step}; use a lower --rate")
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


def _part(arrays, prefix):
    """The arrays called 'prefix/...', by the rest of their names."""
    return {name.removeprefix(f"{prefix}/"): value for name, value in arrays.items() if name.startswith(f"{prefix}/")}


def main(argv):
    """Work, and end at once when the parent does; status 2 when it said what is wrong."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes where errors go
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def say(event):
        print(json.dumps(event), file=channel, flush=True)

    try:
        work(*argv, say)
    except UserError as error:
        say({"error": str(error)})
        return 2
    return 0


def _end_with_parent():
    os.read(0, 1)  # returns when the parent closes the pipe, which the kernel does even for a killed one
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
