"""One .tflite in a fresh process.

`python -m mobile_sr.benchmarking.benchmark_worker MODEL HEIGHT WIDTH THREADS RANGE` prints JSON.
"""

import contextlib
import json
import sys
import time
from pathlib import Path

import ai_edge_litert.interpreter  # here, so that neither memory nor init time counts an import
import ai_edge_litert.schema_py_generated  # noqa: F401
import numpy as np

from mobile_sr.errors import UserError
from mobile_sr.imaging import sample_images
from mobile_sr.inference import litert, model_io
from mobile_sr.inference.model_files import locate

INVOKES = 3  # the delegate's workspace has its full size after the first
SIDE = 64  # LR pixels of the picture that is repeated over the input


def measure(model, height, width, threads, range_in):
    """{"init_ms", "peak_memory_bytes"}: to create an interpreter and allocate it, and what it takes to run it.

    The memory is the peak of the resident set through a few invocations less the resident set before the file is read and
    less the image. `range_in` is the file's (see model_io.ModelIO), so that nothing is measured here.
    """
    path, options = locate(model)
    small = sample_images.picture(SIDE, SIDE)
    _reset_peak()
    before = _status_bytes("VmRSS")
    file = litert.TFLiteModel(path, threads, options)
    file.io = model_io.ModelIO(range_in)
    start = time.perf_counter()
    file.prepare((height, width))
    init_ms = 1e3 * (time.perf_counter() - start)
    image = small[np.ix_(np.arange(height) % SIDE, np.arange(width) % SIDE)]  # not flat: some networks skip what is
    file.set(image)
    for _ in range(INVOKES):
        file.invoke()
    peak = _status_bytes("VmHWM")
    known = before is not None and peak is not None
    return {"init_ms": init_ms, "peak_memory_bytes": peak - before - image.nbytes if known else None}


def _reset_peak():
    """Start the peak over at what is resident now; without it, it can be that of the parent before exec."""
    with contextlib.suppress(OSError):  # not Linux, or a container that forbids it: then the peak since exec counts
        Path("/proc/self/clear_refs").write_text("5")


def _status_bytes(key):
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:")), None)


def main(argv):
    """Print {"init_ms", "peak_memory_bytes"}, or {"error"} with status 2."""
    model, *numbers = argv
    try:
        found = measure(model, *map(int, numbers))
    except UserError as error:
        found = {"error": str(error)}
    except (ValueError, RuntimeError, MemoryError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        found = {"error": f"{model}: failed while running ({reason})"}
    print(json.dumps(found))
    return 2 if "error" in found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
