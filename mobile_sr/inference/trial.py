"""Runs a .tflite of unknown origin once in a process of its own, before it runs in ours: the runtime crashes on some files.

`python -m mobile_sr.inference.trial THREADS` is that process; it reads the bytes from standard input.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

from mobile_sr.errors import UserError
from mobile_sr.files import sha256

try:
    import resource
except ImportError:  # Windows, which writes no core files
    resource = None

SIDE = 48  # LR pixels of a dynamic side; more than most tiles of the delegate's kernels
LIMIT_S = 60
COMMAND = (sys.executable, "-m", "mobile_sr.inference.trial")
_lock = threading.Lock()  # of `upscale --workers`, whose threads open the same file
_PASSED = "MOBILE_SR_TRIED"  # in the environment, which also this process's own children see: SHA-256s, commas between


def run(data, name, threads=1):
    """Run a .tflite's bytes in a child process, unless this process or its parent did so before.

    What the runtime refuses without a crash passes: the caller's own attempt tells the reason.
    Raises: UserError when it ends the process, or takes more than LIMIT_S seconds.
    """
    digest = sha256(data)
    with _lock:
        passed = os.environ.get(_PASSED, "")
        if digest in passed.split(","):
            return
        reason = attempt(data, threads)
        if reason:
            raise UserError(f"{name}: {reason}; it is damaged, or uses what this runtime cannot do. Convert it again")
        os.environ[_PASSED] = f"{passed},{digest}" if passed else digest


def attempt(data, threads=1):
    """Why a .tflite's bytes must not run in this process, None when they ran or were refused."""
    # -P would hide a package that runs from its source folder, so the child gets our own search path.
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        ended = subprocess.run([*COMMAND, str(threads)], input=data, env=env, capture_output=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"the runtime did not finish a first run within {LIMIT_S} s"
    except OSError as error:
        raise UserError(f"cannot start a process to try a .tflite in ({error.strerror})") from None
    return explain(ended.returncode)


def explain(status):
    """The reason for a process's exit status, None unless a signal ended it."""
    if status >= 0:
        return None
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = str(-status)
    return f"the runtime crashed on it (signal {name})"


def invoke(data, threads=1):
    """Run a .tflite's bytes once: dynamic sides are SIDE LR pixels, values 0. Raises: what the runtime raises."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=threads)
    inputs = interpreter.get_input_details()
    for tensor in inputs:
        shape = [int(side) for side in tensor["shape_signature"]]
        if len(shape) == 4 and min(shape) < 0:
            sides = (1, SIDE, SIDE, 3)
            shape = [own if side < 0 else side for side, own in zip(shape, sides, strict=True)]
            interpreter.resize_tensor_input(tensor["index"], shape, strict=False)
    interpreter.allocate_tensors()
    for tensor in interpreter.get_input_details():
        interpreter.set_tensor(tensor["index"], np.zeros(tensor["shape"], tensor["dtype"]))
    interpreter.invoke()
    for tensor in interpreter.get_output_details():
        interpreter.get_tensor(tensor["index"])


def main(threads):
    """The child: end quietly, by a signal where the runtime crashes."""
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError, RuntimeError, MemoryError, TypeError, KeyError):
        invoke(sys.stdin.buffer.read(), int(threads))


if __name__ == "__main__":
    main(sys.argv[1])
