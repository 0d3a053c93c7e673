"""Keeping native libraries' chatter off the terminal, and their last words for error messages."""

import contextlib
import os
import sys
import tempfile
import threading

from mobile_sr.converters.printable import printable

_LOCK = threading.RLock()  # the descriptors are the whole process's


@contextlib.contextmanager
def quiet():
    """Catch what is printed on file descriptors 1 and 2, by Python or by C++; yields a function that returns it so far.

    One thread at a time; what others print meanwhile is caught too, unless they `say` it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _LOCK, tempfile.TemporaryFile() as log:
        _flush()
        saved = {target: os.dup(target) for target in (1, 2)}
        for target in saved:
            os.dup2(log.fileno(), target)

        def text():
            _flush()
            log.seek(0)
            return log.read().decode(errors="replace")

        try:
            yield text
        finally:
            _flush()
            for target, copy in saved.items():
                os.dup2(copy, target)
                os.close(copy)


def say(line, file=None):
    """Print a line (on standard output unless told) that no thread's `quiet` takes; what is not printable is escaped."""
    with _LOCK:
        print(printable(line), file=file, flush=True)


def _flush():
    sys.stdout.flush()
    sys.stderr.flush()
