"""A first run of a .tflite of unknown origin in a child process, because the runtime crashes on some files.

`python -m mobile_sr.inference.trial THREADS` is the child process. It reads the file's bytes from standard input.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from mobile_sr.errors import UserError
from mobile_sr.files import sha256

try:
    import resource
except ImportError:  # Windows, which writes no core files
    resource = None  # type: ignore[assignment]  # a module, or None where there is none

SIDE = 48  # LR pixels of a dynamic side; larger than most tiles of the delegate's kernels
LIMIT_S = 60
COMMAND = (sys.executable, "-m", "mobile_sr.inference.trial")
_lock = threading.Lock()  # the threads of `upscale --workers` open the same file
_PASSED = "MOBILE_SR_TRIED"  # environment variable, inherited by child processes: SHA-256 digests, separated by commas


def run(data: bytes, name: str | Path, threads: int = 1) -> None:
    """Runs a .tflite's bytes in a child process, unless this process or its parent did so before.

    A file that the runtime refuses without a crash passes: the caller's own attempt reports the reason.

    Args:
        data: the file's bytes.
        name: name of the file in messages.
        threads: CPU threads.

    Raises:
        UserError: the runtime crashes, or takes more than LIMIT_S seconds.
    """
    digest = sha256(data)
    with _lock:
        passed = os.environ.get(_PASSED, "")
        if digest in passed.split(","):
            return
        reason = attempt(data, threads)
        if reason:
            raise UserError(f"{name}: {reason}; it is damaged or not supported by this runtime. Convert it again")
        os.environ[_PASSED] = f"{passed},{digest}" if passed else digest


def attempt(data: bytes, threads: int = 1) -> str | None:
    """Returns why a .tflite's bytes must not run in this process; None if the child ran or refused them."""
    # -P would hide a package that runs from its source folder, so the child gets this process's search path.
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        ended = subprocess.run([*COMMAND, str(threads)], input=data, env=env, capture_output=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"the runtime did not finish a first run within {LIMIT_S} s"
    except OSError as error:
        raise UserError(f"cannot start a child process for the trial run of a .tflite ({error.strerror})") from None
    return explain(ended.returncode)


def explain(status: int) -> str | None:
    """Returns the reason for a process's exit status; None unless a signal ended it."""
    if status >= 0:
        return None
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = str(-status)
    return f"the runtime crashed on it (signal {name})"


def invoke(data: bytes, threads: int = 1) -> None:
    """Runs a .tflite once. Dynamic sides are SIDE LR pixels, all values 0. Errors of the runtime are not caught."""
    import numpy as np

    from mobile_sr.converters.tflite.runtime import create_interpreter
    from mobile_sr.inference.tensor_layout import with_sides

    interpreter = create_interpreter(data, threads)
    inputs = interpreter.get_input_details()
    for tensor in inputs:
        shape = [int(side) for side in tensor["shape_signature"]]
        if len(shape) == 4 and min(shape) < 0:
            interpreter.resize_tensor_input(tensor["index"], with_sides(shape, (SIDE, SIDE)), strict=False)
    interpreter.allocate_tensors()
    for tensor in interpreter.get_input_details():
        interpreter.set_tensor(tensor["index"], np.zeros(tensor["shape"], tensor["dtype"]))
    interpreter.invoke()
    for tensor in interpreter.get_output_details():
        interpreter.get_tensor(tensor["index"])


def main(threads: str) -> None:
    """Entry point of the child process: exits quietly, or by a signal if the runtime crashes."""
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError, RuntimeError, MemoryError, TypeError, KeyError):
        invoke(sys.stdin.buffer.read(), int(threads))


if __name__ == "__main__":
    main(sys.argv[1])
