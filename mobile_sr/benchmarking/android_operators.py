"""Times single operators on an Android device, for the latency table of a search."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_sr.benchmarking.android_app import TIMEOUT_S, App
from mobile_sr.errors import UserError
from mobile_sr.files import sha256

if TYPE_CHECKING:
    from mobile_sr.benchmarking.adb import Adb

NOISE = "generated:noise"  # in place of an image: the app fills the inputs of any file with random values


def measure(
    adb: Adb,
    files: Sequence[bytes],
    runs: int,
    warmup: int = 3,
    timeout: float = TIMEOUT_S,
    progress: Callable[[int, str], object] | None = None,
) -> tuple[list[float], dict[str, Any]]:
    """Measures .tflite files of fixed size on the device's CPU, with one thread, each in a fresh process of the app.

    Args:
        adb: the device, on which the app is installed (`android.install`).
        files: contents of the files; they need not be networks from images.
        runs: timed runs of each file.
        warmup: untimed runs before them.
        timeout: seconds for one file.
        progress: called with (files measured, description).

    Returns:
        (median wall time of each file in ms, environment of the last report with the device's "serial" and "where").

    Raises:
        UserError: a file was not measured, or not by XNNPACK.
    """
    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder, App(adb, Path(folder)) as app:
        for data in files:
            extras = {"model": app.put(data, "models", ".tflite"), "image": NOISE, "delegate": "cpu"}
            counts = {"threads": 1, "runs": runs, "warmup": warmup}
            report = app.run({**extras, **counts}, sha256(data), timeout, lambda seconds: None)
            [result] = report["results"]
            if result["error"] is not None:
                raise UserError(f"{adb.serial}: operator {len(times) + 1} of {len(files)} was not measured: {result['error']}")
            times.append(float(result["latency_ms"]["p50"]))
            if progress:
                progress(len(times), f"of {len(files)} operators on {adb.serial}")
    return times, {**report["environment"], "serial": adb.serial, "where": report["where"]}
