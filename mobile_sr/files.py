"""Atomic file writing, JSON files, temporary folders, hashes and small file checks."""

from __future__ import annotations

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
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any

from mobile_sr.errors import UserError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows: no locks, so leftovers are not removed; msvcrt's locks would prevent others from reading
    fcntl = None

_UMASK = os.umask(0)  # read once, at import, because reading it changes it for a moment, for other threads too
os.umask(_UMASK)


_MAX_NAME = 255  # bytes of a file name on every common file system
_RANDOM = r"[a-z0-9_]{8}"  # the random part of a name from mkstemp


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`. On success it is renamed to `path`, on failure it is removed.

    A symbolic link is followed: its target is written. A device, a pipe or another open file (/dev/stdout) cannot be replaced
    by renaming. The bytes of the temporary file are written to it.

    The temporary name keeps the suffix, because writers choose the format by it. Temporary files of killed writers of the
    same path are removed first. The temporary file is locked with flock: write to it, but do not lock it (as HDF5 does).

    Raises:
        UserError: the file or its folder cannot be written.
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


def _follow_links(path: Path) -> Path:
    """The target of a symbolic link, which need not exist. Raises OSError for a cycle of links."""
    for _ in range(40):  # as many as Linux follows
        if _is_descriptor(path) or not path.is_symlink():
            return path
        path = path.parent / os.readlink(path)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _is_descriptor(path: Path) -> bool:
    """Whether a path is a kernel link to an open file, such as /dev/stdout, /dev/fd/3 or /proc/self/fd/3."""
    folder = path.parent.resolve()
    return folder == Path("/dev") or folder.is_relative_to("/proc")


def _is_special(path: Path) -> bool:
    return _is_descriptor(path) or (path.exists() and not path.is_file() and not path.is_dir())


@contextlib.contextmanager
def _replacing(path: Path, target: Path) -> Iterator[Path]:
    """Yield a temporary file that replaces `target` at the end. Error messages name `path`."""
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
def _write_through(path: Path, target: Path) -> Iterator[Path]:
    """Yield a temporary file that is copied to a device, a pipe or an open file at the end."""
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / f"data{target.suffix}"
        try:
            yield temporary
            with open(temporary, "rb") as file, _open_special(target) as out:
                shutil.copyfileobj(file, out)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None


def _open_special(path: Path) -> IO[bytes]:
    """Open a device, a pipe or an open file for binary writing, without creating, truncating or replacing it."""
    status = os.stat(path)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # a stream without a descriptor
            if os.path.samestat(status, os.fstat(stream.fileno())):
                stream.flush()
                return open(os.dup(stream.fileno()), "wb")  # shares the file position; opening the file again would not
    return open(os.open(path, os.O_WRONLY | os.O_APPEND), "wb")


def _lock(handle: int | IO[bytes], wait: bool = True) -> None:
    """Lock an open file or folder until this process closes it. Raises OSError if that is impossible.

    The kernel releases the lock of a killed process. A process id in the file name would be less reliable: ids are reused,
    and have no meaning in another container or host that shares the folder.
    """
    if fcntl is None:
        raise OSError(errno.ENOLCK, "no file locks on this system")
    fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _make_temporary(path: Path) -> tuple[int | None, str]:
    """Make a file beside `path` that is locked until this process ends: (handle, name). Without locks, the handle is None."""
    label, suffix = _temporary_label(path.name)
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{label}.", suffix=".tmp" + suffix, dir=path.parent)
        if fcntl is None:
            os.close(handle)  # there is nothing to lock, and Windows cannot rename an open file
            return None, name
        with contextlib.suppress(OSError):  # a file system without locks, where leftovers are not removed either
            _lock(handle)
        if os.path.exists(name):
            return handle, name
        os.close(handle)  # another writer removed it before it was locked


def _temporary_label(name: str) -> tuple[str, str]:
    """(label, suffix) for the temporary file of `name`: the stem, or a hash if the whole name would be too long."""
    stem, suffix = Path(name).stem, Path(name).suffix
    if len(os.fsencode(name)) + len("..12345678.tmp") <= _MAX_NAME:
        return stem, suffix
    return sha256(os.fsencode(name))[:32], suffix if len(os.fsencode(suffix)) <= 100 else ""


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of `path` left by processes that have ended."""
    folder = os.path.abspath(path.parent)
    label, suffix = _temporary_label(path.name)
    ours = re.compile(rf"\.{re.escape(label)}\.{_RANDOM}\.tmp{re.escape(suffix)}")
    for name in filter(ours.fullmatch, _temporary_names(folder)):
        _remove_unlocked(os.path.join(folder, name))


@functools.cache
def _temporary_names(folder: str) -> list[str]:
    """The names in a folder that look temporary. Listed once per folder: 10,000 images take 5 ms."""
    return [name for name in os.listdir(folder) if re.fullmatch(rf"\..*\.{_RANDOM}\.tmp(\..*)?", name, re.DOTALL)]


def _remove_unlocked(name: str) -> None:
    with contextlib.suppress(OSError), open(name, "r+b") as file:  # OSError: in use, gone or another user's
        _lock(file, wait=False)
        os.unlink(name)


def sweep(folder: str | Path) -> None:
    """Remove the temporary files of killed writers from a folder that only this program writes to."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if re.fullmatch(rf"\..+\.{_RANDOM}\.tmp(\..*)?", name):
                _remove_unlocked(os.path.join(folder, name))


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Yield a temporary folder that is removed at the end, as are folders of killed processes with the same prefix."""
    for leftover in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError), _locked_folder(leftover):  # OSError: in use, gone or another user's
            shutil.rmtree(leftover)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # a file system without locks, where leftovers are not removed either
                stack.enter_context(_locked_folder(folder))
            if not folder.exists():
                continue  # another process removed it before it was locked
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return


@contextlib.contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder. Raises OSError if another process holds it, or there are no locks."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, wait=False)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def sole_writer(folder: str | Path) -> Iterator[None]:
    """Hold a folder against other processes that do the same. It is created, and removed at the end if it is empty.

    Raises:
        UserError: another process holds it, or it cannot be created.
    """
    path = Path(folder)
    is_new = not path.exists()
    check_folder(path)
    make_folder(path)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_locked_folder(path))
        except BlockingIOError:
            message = f"{folder}: another process is writing to it; wait until it ends, or use another --out"
            raise UserError(message) from None
        except OSError:  # a file system without locks
            pass
        try:
            yield
        finally:
            if is_new:
                with contextlib.suppress(OSError):  # it has files
                    path.rmdir()


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write bytes atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically. Characters that UTF-8 cannot encode (bytes of a file name) are escaped, as \\udcff."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def json_text(value: Any) -> str:
    """Format a value as indented JSON with a trailing newline.

    Numbers that JSON does not support become null, such as the infinite PSNR of equal images.
    """
    return json.dumps(_finite(value), indent=2, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: str | Path, value: Any) -> None:
    """Write the `json_text` of a value atomically."""
    write_text(path, json_text(value))


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: the file cannot be read or does not contain a JSON object.
    """
    try:
        value = json.loads(Path(path).read_text())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):  # RecursionError: nested too deeply
        value = None
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a JSON object")
    return value


def cache_folder() -> Path:
    """Return the folder of what is downloaded or decoded once: MOBILE_SR_CACHE if set, else ~/.cache/mobile-sr."""
    return Path(os.environ.get("MOBILE_SR_CACHE") or Path.home() / ".cache" / "mobile-sr")


def check_not_pointer(path: str | Path) -> None:
    """Raise UserError for a git-LFS pointer, a small text file in place of a file that was not downloaded."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        if file.read(44).startswith(b"version https://git-lfs.github.com/spec/"):
            raise UserError(f"{path}: a git-LFS pointer, not the file itself; `git lfs pull` downloads it")


def check_folder(path: str | Path) -> None:
    """Raise UserError if `path` is not, and cannot become, a writable folder. Creates nothing."""
    existing = Path(path)
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise UserError(f"{path}: cannot be a folder, {existing} is a file")
    if not os.access(existing, os.W_OK):
        raise UserError(f"{path}: {existing} is not writable")


def make_folder(path: str | Path) -> Path:
    """Create a writable folder, with its parents, if it does not exist yet.

    Returns:
        Its path.

    Raises:
        UserError: it cannot be created or is not writable.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: the folder cannot be created ({error.strerror})") from None
    if not os.access(path, os.W_OK):
        raise UserError(f"{path}: the folder is not writable")
    return path


def sha256(data: ReadableBuffer) -> str:
    """Hexadecimal SHA-256 of bytes or of a contiguous array."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    return sha256(Path(path).read_bytes())
