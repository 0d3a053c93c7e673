"""Atomic writing, hashing and small file checks, shared by everything that leaves files behind."""

import contextlib
import errno
import functools
import hashlib
import json
import math
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from mobile_sr.errors import UserError

try:
    import fcntl
except ImportError:  # Windows: no locks (those of msvcrt keep others from reading), so leftovers are not removed
    fcntl = None

_UMASK = os.umask(0)  # read once, at import: reading it changes it for a moment, also for other threads
os.umask(_UMASK)


_MAX_NAME = 255  # bytes of a file's name, on every common file system
_RANDOM = r"[a-z0-9_]{8}"  # what mkstemp puts into a name


@contextlib.contextmanager
def atomic_path(path):
    """Yield a temporary path beside `path`; on success it is renamed to `path`, on failure it is removed.

    A symbolic link is followed: its target is written. A device, a pipe or another open file (/dev/stdout) cannot be renamed
    to, and gets the bytes of the temporary file.
    The temporary name keeps the suffix, because writers choose the format by it. What a killed writer of the same path
    left behind is removed first. The file is locked with flock meanwhile: write to it, do not lock it (as HDF5 does).
    Raises UserError when the folder cannot be written.
    """
    path = Path(path)
    try:
        target = _follow_links(path)
        special = _is_special(target)
        if not special:
            target.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(target)
    except OSError as error:
        raise UserError(f"{path}: cannot write there ({error.strerror})") from None
    with _write_through(path, target) if special else _replacing(path, target) as temporary:
        yield temporary


def _follow_links(path):
    """The path that a symbolic link leads to, also where nothing exists yet. Raises: OSError for a circle of links."""
    for _ in range(40):  # as many as Linux follows
        if _is_descriptor(path) or not path.is_symlink():
            return path
        path = path.parent / os.readlink(path)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _is_descriptor(path):
    """Whether a path is a link of the kernel to an open file, such as /dev/stdout, /dev/fd/3 and /proc/self/fd/3."""
    folder = path.parent.resolve()
    return folder == Path("/dev") or folder.is_relative_to("/proc")


def _is_special(path):
    return _is_descriptor(path) or (path.exists() and not path.is_file() and not path.is_dir())


@contextlib.contextmanager
def _replacing(path, target):
    """Yield a temporary file beside `target` that takes its place in the end; `path` is what messages call it."""
    try:
        handle, temporary = _make_temporary(target)
    except OSError as error:
        raise UserError(f"{path}: cannot write there ({error.strerror})") from None
    try:
        yield Path(temporary)
        os.chmod(temporary, 0o666 & ~_UMASK)  # mkstemp makes files private; these are ordinary results
        os.replace(temporary, target)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if handle is not None:
            os.close(handle)


@contextlib.contextmanager
def _write_through(path, target):
    """Yield a temporary file whose bytes are written to a device, a pipe or an open file in the end."""
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / f"data{target.suffix}"
        try:
            yield temporary
            with open(temporary, "rb") as file, _open_special(target) as out:
                shutil.copyfileobj(file, out)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None


def _open_special(path):
    """A binary file that writes to what `path` names, and never creates, truncates or replaces it."""
    status = os.stat(path)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # a stream without a descriptor
            if os.path.samestat(status, os.fstat(stream.fileno())):
                stream.flush()
                return open(os.dup(stream.fileno()), "wb")  # shares its place in the file, which a second opening would not
    return open(os.open(path, os.O_WRONLY | os.O_APPEND), "wb")


def _lock(handle, wait=True):
    """Lock an open file or folder for as long as this process has it open. Raises: OSError where that is impossible.

    The kernel drops the lock of a killed process, which a process id in the name could not say reliably: ids are reused,
    and mean nothing to another container or host that shares the folder.
    """
    if fcntl is None:
        raise OSError(errno.ENOLCK, "no file locks on this system")
    fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _make_temporary(path):
    """A new file beside `path`, locked for as long as this process lives: (handle, name); the handle is None without locks."""
    label, suffix = _temporary_label(path.name)
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{label}.", suffix=".tmp" + suffix, dir=path.parent)
        if fcntl is None:
            os.close(handle)  # nothing to lock, and Windows cannot rename an open file
            return None, name
        with contextlib.suppress(OSError):  # no locks on this file system: then nothing is taken for a leftover either
            _lock(handle)
        if os.path.exists(name):
            return handle, name
        os.close(handle)  # another writer saw it before it was locked and removed it


def _temporary_label(name):
    """(label, suffix) of the temporary file of a file called `name`: its stem, a hash where the whole would get too long."""
    stem, suffix = Path(name).stem, Path(name).suffix
    if len(os.fsencode(name)) + len("..12345678.tmp") <= _MAX_NAME:
        return stem, suffix
    return sha256(os.fsencode(name))[:32], suffix if len(os.fsencode(suffix)) <= 100 else ""


def _remove_leftovers(path):
    """Remove the temporary files of `path` whose writer is gone."""
    folder = os.path.abspath(path.parent)
    label, suffix = _temporary_label(path.name)
    ours = re.compile(rf"\.{re.escape(label)}\.{_RANDOM}\.tmp{re.escape(suffix)}")
    for name in filter(ours.fullmatch, _temporary_names(folder)):
        _remove_unlocked(os.path.join(folder, name))


@functools.cache
def _temporary_names(folder):
    """The files of a folder that look temporary. Listed once: a folder of 10,000 images takes 5 ms."""
    return [name for name in os.listdir(folder) if re.fullmatch(rf"\..*\.{_RANDOM}\.tmp(\..*)?", name, re.DOTALL)]


def _remove_unlocked(name):
    with contextlib.suppress(OSError), open(name, "r+b") as file:  # OSError: in use, gone or not ours
        _lock(file, wait=False)
        os.unlink(name)


def sweep(folder):
    """Remove what killed writers left in a folder that only this program writes to, whatever the files' names."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if re.fullmatch(rf"\..+\.{_RANDOM}\.tmp(\..*)?", name):
                _remove_unlocked(os.path.join(folder, name))


@contextlib.contextmanager
def temporary_folder(prefix):
    """Yield a temporary folder, removed in the end; those that killed processes left under the same prefix are removed, too."""
    for found in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError), _locked_folder(found):  # OSError: in use, gone or another user's
            shutil.rmtree(found)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # no locks here: then nothing is taken for a leftover either
                stack.enter_context(_locked_folder(folder))
            if not folder.exists():
                continue  # another process saw it before it was locked and removed it
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return


@contextlib.contextmanager
def _locked_folder(folder):
    """Hold the lock of a folder. Raises: OSError where another process has it, or there are no locks."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, wait=False)
        yield
    finally:
        os.close(handle)


def write_bytes(path, data):
    """Write bytes atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path, text):
    """Write UTF-8 text atomically; what UTF-8 does not know (bytes of a file name) becomes \\udcff."""
    write_bytes(path, text.encode(errors="backslashreplace"))


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


def check_not_pointer(path):
    """Raise UserError for a git-LFS pointer: the few lines that stand for a file which was not downloaded."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        if file.read(44).startswith(b"version https://git-lfs.github.com/spec/"):
            raise UserError(f"{path}: a git-LFS pointer, not the file itself; `git lfs pull` downloads it")


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
