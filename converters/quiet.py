"""Captures what native libraries print, to keep it off the terminal and to quote it in error messages."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import TextIO

from mobile_sr.converters.printable import printable

_LOCK = threading.RLock()  # the file descriptors belong to the whole process


@contextlib.contextmanager
def quiet() -> Iterator[Callable[[], str]]:
    """Capture everything that Python or C++ code prints on file descriptors 1 and 2.

    Only one thread at a time can capture. Output of other threads is captured too, unless they use `print_line`.

    Yields:
        A function that returns the text captured so far.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _LOCK, tempfile.TemporaryFile() as log:
        _flush()
        saved = {target: os.dup(target) for target in (1, 2)}
        for target in saved:
            os.dup2(log.fileno(), target)

        def text() -> str:
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


def print_line(line: object, file: TextIO | None = None) -> None:
    """Print a line that the `quiet` of another thread does not capture. Unprintable characters are escaped.

    Args:
        line: the text.
        file: an open text file; None is standard output.
    """
    with _LOCK:
        print(printable(line), file=file, flush=True)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
