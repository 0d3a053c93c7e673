"""Atomic writing, hashing and small file checks, shared by everything that leaves files behind."""

import contextlib
import fcntl
import hashlib
import json
import math
import os
import re
import tempfile
from pathlib import Path

from mobile_sr.errors import UserError

_UMASK = os.umask(0)  # read once, at import: reading it changes it for a moment, also for other threads
os.umask(_UMASK)


@contextlib.contextmanager
def atomic_path(path):
    """Yield a temporary path beside `path`; on success it is renamed to `path`, on failure it is removed.

    The temporary name keeps the suffix, because writers choose the format by it. What a killed writer of the same path
    left behind is removed first. The file is locked with flock meanwhile: write to it, do not lock it (as HDF5 does).
    Raises UserError when the folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        handle, temporary = _make_temporary(path)
    except OSError as error:
        raise UserError(f"{path}: cannot write there ({error.strerror})") from None
    try:
        yield Path(temporary)
        os.chmod(temporary, 0o666 & ~_UMASK)  # mkstemp makes files private; these are ordinary results
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        os.close(handle)


def _make_temporary(path):
    """A new file beside `path`, locked for as long as this process lives: (handle, name).

    The kernel drops the lock of a killed process, which a process id in the name could not say reliably: ids are reused,
    and mean nothing to another container or host that shares the folder.
    """
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=".tmp" + path.suffix, dir=path.parent)
        with contextlib.suppress(OSError):  # no locks on this file system: then nothing is taken for a leftover either
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.path.exists(name):
            return handle, name
        os.close(handle)  # another writer saw it before it was locked and removed it


def _remove_leftovers(path):
    """Remove the temporary files of `path` whose writer is gone."""
    ours = re.compile(rf"\.{re.escape(path.stem)}\.[a-z0-9_]{{8}}\.tmp{re.escape(path.suffix)}")
    for name in filter(ours.fullmatch, os.listdir(path.parent)):
        with contextlib.suppress(OSError), open(path.parent / name, "r+b") as file:  # OSError: in use, gone or not ours
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path.parent / name)


def write_bytes(path, data):
    """Write bytes atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path, text):
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode())


def json_text(value):
    """Indented JSON with a trailing newline; numbers that JSON does not know (equal images' infinite PSNR) become null."""
    return json.dumps(_finite(value), indent=2, allow_nan=False) + "\n"


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path, value):
    """Write `json_text` atomically."""
    write_text(path, json_text(value))


def read_json(path):
    """Read a JSON object as a dict; raises UserError when the file is missing or holds none."""
    try:
        found = json.loads(Path(path).read_text())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):  # the latter for what is nested too deep
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path}: not a JSON object")
    return found


def check_folder(path):
    """Raise UserError when `path` could not be made a folder that is written to; changes nothing."""
    place = Path(path)
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise UserError(f"{path}: cannot be a folder, {place} is a file")
    if not os.access(place, os.W_OK):
        raise UserError(f"{path}: {place} is not writable")


def make_folder(path):
    """Create `path` as a folder, or raise UserError; returns it as a Path."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be made a folder ({error.strerror})") from None
    if not os.access(path, os.W_OK):
        raise UserError(f"{path}: the folder is not writable")
    return path


def sha256(data):
    """Hex SHA-256 of bytes or of a contiguous array."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path):
    """Hex SHA-256 of a file's bytes."""
    return sha256(Path(path).read_bytes())
