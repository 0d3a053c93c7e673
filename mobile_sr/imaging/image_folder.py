"""Which files of a folder are images, and which were left out."""

import os
import stat
import sys
from pathlib import Path

from mobile_sr.converters.quiet import say
from mobile_sr.errors import UserError
from mobile_sr.imaging.images import HAS_HEIF, NEEDS_HEIF

_HEIF = (".heic", ".heif", ".hif")
SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".gif"),
    *(_HEIF if HAS_HEIF else ()),
)
_NAMED = 8  # files that a line names at most
# What lies beside images and is none, so that nobody misses it.
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


def list_images(folder):
    """All image files below `folder`, sorted by relative path; what else looks like an image is named on standard error.

    Links to folders are followed. A folder that is reached in two ways counts once, so that a link upwards ends.
    Raises: UserError when there is no image, or no such folder.
    """
    folder = Path(folder)
    if not os.path.exists(folder):
        raise UserError(f"{folder}: no such folder")
    if not os.path.isdir(folder):
        raise UserError(f"{folder}: not a folder")
    found, left_out = [], []
    for path in sorted(_entries(folder), key=lambda p: p.relative_to(folder).as_posix()):
        reason = _reason(path)
        if reason is None:
            found.append(path)
        elif reason:
            left_out.append(f"{path.relative_to(folder).as_posix()} ({reason})")
    line = ", ".join(left_out[:_NAMED])
    if len(left_out) > _NAMED:
        line += f" and {len(left_out) - _NAMED} more"
    if not found:
        raise UserError(
            f"{folder}: no image in it (looked for {', '.join(SUFFIXES)})" + (f"; left out: {line}" if line else "")
        )
    if line:
        say(f"{folder}: left out: {line}", sys.stderr)
    return found


def _reason(path):
    """Why a path is not taken as an image: in words, '' where nobody would take it for one, None for an image."""
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


def _folder_reason(path):
    """Files in a folder are judged by themselves; an empty one that is called like an image is named."""
    try:
        with os.scandir(path) as entries:
            empty = next(entries, None) is None
    except OSError as error:
        return f"the folder cannot be read: {error.strerror}"
    return "an empty folder" if empty and path.suffix.lower() in SUFFIXES else ""


def _entries(folder):
    """The paths of all files and folders below `folder`."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
        else:
            seen.add(real)
            yield from (Path(place) / name for name in (*folders, *names))
