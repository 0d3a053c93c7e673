"""Scores of two contests for super-resolution on phones: Mobile AI 2021's, and MLPerf Mobile's measures."""

import dataclasses
import math

from mobile_sr.benchmarking import benchmark
from mobile_sr.errors import UserError
from mobile_sr.evaluation import evaluate
from mobile_sr.inference import upscaler


@dataclasses.dataclass(frozen=True)
class Contest:
    """What a contest measures: scale, LR (H, W) of the timed picture, border cut from pictures, least PSNR in dB (or None)."""

    scale: int
    size: tuple
    shave: int
    least_psnr: float = None


# Mobile AI 2021: 1080p out (Ignatov et al., CVPRW 2021). MLPerf Mobile: EDSR of 5 blocks and 32 features on 25 pictures of
# the OpenSR set, 960x540 to 1920x1080, whole pictures in RGB, valid from 33 dB on; its load generator reports the 90th
# percentile of single queries.
CONTESTS = {"mai2021": Contest(3, (360, 640), 3), "mlperf": Contest(2, (540, 960), 0, 33.0)}
MAI_2021_CONSTANT = 2.815e14  # of the target phone's NPU: gives the scores that the challenge published


def mai_2021(psnr, runtime_ms):
    """The Mobile AI 2021 score 2^(2 PSNR) / (C runtime) (Ayazoglu 2021, Eq. 1); PSNR in dB (RGB), runtime in ms."""
    return 2 ** (2 * psnr) / (MAI_2021_CONSTANT * runtime_ms)


def score(model, contest, data, runtime_ms=None, threads=1, runs=20, progress=None):
    """A model's score in a contest.

    Args:
        model: a .tflite file or a packaged one; any model where the runtime is given.
        contest: of CONTESTS.
        data: folder of the PSNR set.
        runtime_ms: measured elsewhere, as on a phone; None measures it here, on `threads` CPU threads.
    Returns: {"contest", "model", "psnr": mean of the pictures in dB (RGB), "images", "shave", "runtime_ms", "runtime_of",
        "least_psnr", "valid"}, and "score" for mai2021.
    Raises: UserError when the model is of another scale or unusable, or the data is.
    """
    rules = CONTESTS[contest]
    if runtime_ms is not None and not runtime_ms > 0:
        raise UserError(f"--ms {runtime_ms:g}: must be above 0")
    runner = upscaler.load(model, threads=threads)
    if runner.scale != rules.scale:
        raise UserError(f"{model}: upscales by {runner.scale}; {contest} is for x{rules.scale}")
    found = evaluate.evaluate(runner, data, "rgb", progress, rules.shave, ssim=False)
    psnr, where = found["mean"]["psnr"], "given"
    if psnr is None:
        raise UserError(f"{data}: no image with a finite PSNR")
    count = sum(row["psnr"] is not None and math.isfinite(row["psnr"]) for row in found["images"])
    if runtime_ms is None:
        timed = benchmark.benchmark([model], rules.size, threads, runs, progress=progress)
        latency = timed["results"][0]["latency_ms"]
        runtime_ms = latency["p90" if contest == "mlperf" else "mean"]
        where = f"{timed['environment']['cpu']}, CPU, {threads} thread(s), host"
    result = {"contest": contest, "model": str(model), "psnr": psnr, "images": count, "shave": rules.shave}
    result |= {"runtime_ms": runtime_ms, "runtime_of": where, "skipped": found["skipped"]}
    result |= {"least_psnr": rules.least_psnr, "valid": rules.least_psnr is None or psnr >= rules.least_psnr}
    return result | ({"score": mai_2021(psnr, runtime_ms)} if contest == "mai2021" else {})
