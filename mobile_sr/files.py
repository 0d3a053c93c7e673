"""Atomic writing, hashing and small file checks, shared by everything that leaves files behind."""

import contextlib
import hashlib
import json
import math
import os
import tempfile
from pathlib import Path

from mobile_sr.errors import UserError


@contextlib.contextmanager
def atomic_path(path):
    """Yield a temporary path beside `path`; on success it is renamed to `path`, on failure it is removed.

    The temporary name keeps the suffix, because writers choose the format by it.
    Raises UserError when the folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=".tmp" + path.suffix, dir=path.parent)
    except OSError as error:
        raise UserError(f"{path}: cannot write there ({error.strerror})") from None
    os.close(handle)
    try:
        yield Path(temporary)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes files private; these are ordinary results
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


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
    """Read a JSON object; raises UserError when the file is missing or is not JSON."""
    try:
        return json.loads(Path(path).read_text())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise UserError(f"{path}: not a valid JSON file") from None


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
