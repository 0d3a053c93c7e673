"""Scores in two contests for super-resolution on phones, Mobile AI 2021 and MLPerf Mobile."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mobile_sr.benchmarking import benchmark
from mobile_sr.errors import UserError
from mobile_sr.evaluation import evaluate
from mobile_sr.inference import upscaler


@dataclasses.dataclass(frozen=True)
class Contest:
    """The rules of a contest.

    Attributes:
        scale: scale factor.
        size: LR (H, W) of the timed image.
        shave: pixels cut from each border before PSNR.
        least_psnr: minimum PSNR of a valid result in dB, None without one.
    """

    scale: int
    size: tuple[int, int]
    shave: int
    least_psnr: float | None = None


# Mobile AI 2021: 1080p output (Ignatov et al., CVPRW 2021). MLPerf Mobile: EDSR with 5 blocks and 32 features on 25 images of
# the OpenSR set, 960x540 to 1920x1080, RGB without shave, valid from 33 dB on; its load generator reports the 90th percentile
# of single queries.
CONTESTS = {"mai2021": Contest(3, (360, 640), 3), "mlperf": Contest(2, (540, 960), 0, 33.0)}
MAI_2021_CONSTANT = 2.815e14  # C of the target phone's NPU; it reproduces the scores that the challenge published


def mai_2021(psnr: float, runtime_ms: float) -> float:
    """Returns the Mobile AI 2021 score 2^(2 PSNR) / (C runtime) (Ayazoglu 2021, Eq. 1).

    Args:
        psnr: in dB (RGB).
        runtime_ms: in milliseconds.
    """
    return 2 ** (2 * psnr) / (MAI_2021_CONSTANT * runtime_ms)


def score(
    model: str | Path,
    contest: str,
    data: evaluate.ImageSource,
    runtime_ms: float | None = None,
    threads: int = 1,
    runs: int = 20,
    progress: Callable[[int, str], None] | None = None,
) -> dict[str, Any]:
    """Score a model in a contest.

    Args:
        model: .tflite file or packaged one; any model if the runtime is given.
        contest: a key of CONTESTS.
        data: folder of images for PSNR.
        runtime_ms: runtime measured elsewhere, such as on a phone. None measures it on this machine.
        threads: CPU threads for the measurement.
        runs: timed runs of the measurement.
        progress: called with (number done, what was done).
    Returns: {"contest", "model", "psnr": mean over the images in dB (RGB), "images", "shave", "runtime_ms", "runtime_of",
        "skipped", "least_psnr", "valid"}, and "score" for mai2021.
    Raises: UserError when the model or the data are unusable, or the model has another scale than the contest.
    """
    rules = CONTESTS[contest]
    if runtime_ms is not None and not runtime_ms > 0:
        raise UserError(f"--ms {runtime_ms:g}: must be above 0")
    runner = upscaler.load(model, threads=threads)
    if runner.scale != rules.scale:
        raise UserError(f"{model}: upscales by {runner.scale}; {contest} is for x{rules.scale}")
    quality = evaluate.evaluate(runner, data, "rgb", progress, rules.shave, ssim=False)
    psnr, runtime_of = quality["mean"]["psnr"], "given"
    if psnr is None:
        raise UserError(f"{data}: no image has a finite PSNR")
    count = sum(row["psnr"] is not None and math.isfinite(row["psnr"]) for row in quality["images"])
    if runtime_ms is None:
        timed = benchmark.benchmark([model], rules.size, threads, runs, progress=progress)
        latency = timed["results"][0]["latency_ms"]
        runtime_ms = latency["p90" if contest == "mlperf" else "mean"]
        runtime_of = f"{timed['environment']['cpu']}, CPU, {threads} thread(s), host"
    result = {"contest": contest, "model": str(model), "psnr": psnr, "images": count, "shave": rules.shave}
    result |= {"runtime_ms": runtime_ms, "runtime_of": runtime_of, "skipped": quality["skipped"]}
    result |= {"least_psnr": rules.least_psnr, "valid": rules.least_psnr is None or psnr >= rules.least_psnr}
    return result | ({"score": mai_2021(psnr, runtime_ms)} if contest == "mai2021" else {})
