"""Lists the image files of a folder and reports the files it skips."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from mobile_sr.converters.quiet import print_line
from mobile_sr.errors import UserError
from mobile_sr.imaging.images import HAS_HEIF, NEEDS_HEIF

_HEIF = (".heic", ".heif", ".hif")
SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".gif"),
    *(_HEIF if HAS_HEIF else ()),
)
_MAX_NAMED = 8  # files named in one line
# Common companions of images. They are skipped without a report.
_OTHER_SUFFIXES = frozenset(
    (
        *(".txt", ".md", ".rst", ".pdf", ".html", ".htm", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".toml"),
        *(".ini", ".cfg", ".log", ".db", ".xmp", ".aae", ".thm", ".lnk", ".url", ".sha256", ".md5", ".bak", ".py", ".sh", ".m"),
        *(".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".mat", ".npy", ".npz", ".pkl", ".h5", ".lmdb", ".mdb"),
        *(".mp4", ".mov", ".avi", ".mkv", ".webm", ".mp3", ".wav", ".m4a", ".doc", ".docx", ".xls", ".xlsx", ".ppt", ".pptx"),
        *(".tflite", ".onnx", ".keras"),
    )
)
_OTHER_NAMES = ("readme", "license", "licence", "copying", "authors", "changelog", "makefile", "checksums", "sha256sums")


def list_images(folder: str | Path) -> list[Path]:
    """List all image files below a folder, sorted by relative path.

    Files that look like images but cannot be used are reported on standard error. Links to folders are followed. A folder
    that is reachable by two paths counts once, which also stops at links to a parent folder.

    Raises:
        UserError: the folder does not exist or contains no image.
    """
    folder = Path(folder)
    if not os.path.exists(folder):
        raise UserError(f"{folder}: no such folder")
    if not os.path.isdir(folder):
        raise UserError(f"{folder}: not a folder")
    images: list[Path] = []
    left_out: list[str] = []
    for path in sorted(_entries(folder), key=lambda p: p.relative_to(folder).as_posix()):
        reason = _reason(path)
        if reason is None:
            images.append(path)
        elif reason:
            left_out.append(f"{path.relative_to(folder).as_posix()} ({reason})")
    line = ", ".join(left_out[:_MAX_NAMED])
    if len(left_out) > _MAX_NAMED:
        line += f" and {len(left_out) - _MAX_NAMED} more"
    if not images:
        raise UserError(
            f"{folder}: no image in it (looked for {', '.join(SUFFIXES)})" + (f"; left out: {line}" if line else "")
        )
    if line:
        print_line(f"{folder}: left out: {line}", sys.stderr)
    return images


def _reason(path: Path) -> str | None:
    """Returns the reason why a path is skipped, '' if it does not look like an image, None for an image."""
    suffix = path.suffix.lower()
    if path.name.startswith(".") or suffix in _OTHER_SUFFIXES or (not suffix and path.name.lower() in _OTHER_NAMES):
        return ""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return "broken link" if path.is_symlink() else f"cannot be read: {error.strerror}"
    if stat.S_ISDIR(mode):
        return _folder_reason(path)
    if not stat.S_ISREG(mode):
        return "a pipe, socket or device"
    if suffix in SUFFIXES:
        return None
    return NEEDS_HEIF if suffix in _HEIF else "unknown format"


def _folder_reason(path: Path) -> str:
    """Like `_reason`, for a folder: its files are checked separately; an empty folder named like an image is reported."""
    try:
        with os.scandir(path) as entries:
            empty = next(entries, None) is None
    except OSError as error:
        return f"the folder cannot be read: {error.strerror}"
    return "an empty folder" if empty and path.suffix.lower() in SUFFIXES else ""


def _entries(folder: Path) -> Iterator[Path]:
    """Yield the paths of all files and folders below `folder`."""
    visited = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        real = os.path.realpath(parent)
        if real in visited:
            folders.clear()
        else:
            visited.add(real)
            yield from (Path(parent) / name for name in (*folders, *names))
