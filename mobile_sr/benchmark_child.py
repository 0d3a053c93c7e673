"""One .tflite in a fresh process: `python -m mobile_sr.benchmark_child FILE HEIGHT WIDTH THREADS` prints JSON."""

import contextlib
import json
import sys
import time
from pathlib import Path

import ai_edge_litert.interpreter  # here, so that neither memory nor init time counts an import
import ai_edge_litert.schema_py_generated  # noqa: F401

from mobile_sr import litert
from mobile_sr.errors import UserError

INVOKES = 3  # the delegate's workspace has its full size after the first


def measure(path, height, width, threads):
    """{"init_ms", "peak_memory_bytes"}: to create an interpreter and allocate it, and what it takes to run it.

    The memory is the peak of the resident set through a few invocations less the resident set before the file is read.
    """
    _reset_peak()
    before = _status_bytes("VmRSS")
    data = litert.read_file(path)
    litert.parse_graph(data, path)
    start = time.perf_counter()
    interpreter = litert.open_interpreter(data, path, threads)
    litert.allocate(interpreter, path, (1, height, width, 3))
    init_ms = 1e3 * (time.perf_counter() - start)
    interpreter.tensor(interpreter.get_input_details()[0]["index"])().fill(0)
    for _ in range(INVOKES):
        interpreter.invoke()
    peak = _status_bytes("VmHWM")
    return {"init_ms": init_ms, "peak_memory_bytes": None if before is None or peak is None else peak - before}


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
    path, *numbers = argv
    try:
        found = measure(path, *map(int, numbers))
    except UserError as error:
        found = {"error": str(error)}
    except (ValueError, RuntimeError, MemoryError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        found = {"error": f"{path}: failed while running ({reason})"}
    print(json.dumps(found))
    return 2 if "error" in found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
