"""Measurement of one .tflite in a fresh process.

`python -m mobile_sr.benchmarking.benchmark_worker MODEL HEIGHT WIDTH THREADS RANGE ORDER` prints JSON.
"""

import contextlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ai_edge_litert.interpreter  # imported here: memory and init time must not include it
import ai_edge_litert.schema_py_generated  # noqa: F401
import numpy as np

from mobile_sr.errors import UserError
from mobile_sr.imaging import sample_images
from mobile_sr.inference import litert, model_io
from mobile_sr.inference.model_files import locate

INVOKES = 3  # the delegate's workspace has its full size after the first one
SIDE = 64  # LR pixels of the image that is repeated over the input


def measure(model: str, height: int, width: int, threads: int, range_in: int, order: str = "rgb") -> dict[str, Any]:
    """Measures the time to create and allocate an interpreter, and the memory to run it.

    Args:
        model: the model string.
        height, width: LR size.
        threads: CPU threads.
        range_in, order: value range and channel order of the file's input (`model_io.ModelIO`), not measured again here.

    Returns:
        {"init_ms", "peak_memory_bytes"}. The memory is the peak of the resident set during a few invocations minus the resident
        set before the file is read and minus the image; None if the system does not report it.
    """
    path, options = locate(model)
    small = sample_images.generated(SIDE, SIDE)
    _reset_peak()
    before = _status_bytes("VmRSS")
    file = litert.TFLiteModel(path, threads, options)
    file.io = model_io.ModelIO(range_in, order=order)
    start = time.perf_counter()
    file.prepare((height, width))
    init_ms = 1e3 * (time.perf_counter() - start)
    image = small[np.ix_(np.arange(height) % SIDE, np.arange(width) % SIDE)]  # not flat: some networks skip flat areas
    file.set(image)
    for _ in range(INVOKES):
        file.invoke()
    peak = _status_bytes("VmHWM")
    memory = None if before is None or peak is None else peak - before - image.nbytes
    return {"init_ms": init_ms, "peak_memory_bytes": memory}


def _reset_peak() -> None:
    """Resets the peak to the current resident set; otherwise it can be that of the parent before exec."""
    with contextlib.suppress(OSError):  # not Linux, or forbidden in a container: then the peak since exec counts
        Path("/proc/self/clear_refs").write_text("5")


def _status_bytes(key: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:")), None)


def main(argv: Sequence[str]) -> int:
    """Prints {"init_ms", "peak_memory_bytes"}, or {"error"} with exit status 2."""
    model, *numbers, order = argv
    try:
        height, width, threads, range_in = map(int, numbers)
        result = measure(model, height, width, threads, range_in, order)
    except UserError as error:
        result = {"error": str(error)}
    except (ValueError, RuntimeError, MemoryError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        result = {"error": f"{model}: failed while running ({reason})"}
    print(json.dumps(result))
    return 2 if "error" in result else 0


if __name__ == "__main__":
    UserError.names_options = True
    sys.exit(main(sys.argv[1:]))
