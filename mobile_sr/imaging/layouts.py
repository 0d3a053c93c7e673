"""Data-set layouts: finds the HR images of a folder and their LR images."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mobile_sr.errors import UserError
from mobile_sr.imaging.image_folder import list_images
from mobile_sr.imaging.images import image_size

_HR_FOLDER = re.compile(r"(.+_)?HR|GT|GTmod\d+", re.IGNORECASE)
_LR_FOLDER = re.compile(r"(.+_)?(LR|LQ)(_?(bic|bicubic|unknown|mild|difficult|wild))?(_?X\d+)?", re.IGNORECASE)
_SCALE_FOLDER = re.compile(r"X\d+", re.IGNORECASE)  # DIV2K's LR_bicubic/X2
_SRF_FOLDER = re.compile(r"(image|.+)_SRF_(\d+)")  # SelfExSR: super-resolution factor
_HR_STEM = re.compile(r"(.+)[_-]HR", re.IGNORECASE)
_LR_STEM = re.compile(r"(.+)[_-](LR|LQ)([_-]?x\d+)?", re.IGNORECASE)
_KIND = r"[_-](LR|LQ|HR|GT|SRF_\d+|bicubic|small)"
_TAG = re.compile(rf"({_KIND})?[_-]?x\d+$|{_KIND}$", re.IGNORECASE)
_KNOWN_SETS = ("set5", "set14", "b100", "bsd100", "urban100", "manga109", "div2k")

Pair = tuple[str, Path, Path | None]  # name, HR file, LR file


def find_pairs(folder: str | Path, scale: int, part: str | None = None) -> list[Pair]:
    """Find the image pairs of a folder.

    Supported layouts:
        DIV2K: `*_HR` beside `*_LR_bicubic/X2`, files 0001.png and 0001x2.png.
        `HR` or `GT`, and optionally `LR/X2`, `LR_bicubic/X2`, `LR_x2` or `LR`.
        BasicSR: `GTmod12` (any number) beside `LRbicx2`, `LRbicx3`, ...
        SelfExSR: `image_SRF_2` with X_HR.png and X_LR.png. Such pairs are found in any single folder.
        Any other folder: HR images, including those in sub-folders. LR images are then made by bicubic.

    Args:
        folder: the HR folder, the folder above it, or one image file.
        scale: scale factor of the pairs.
        part: 'train' or 'valid', to choose between the two in a DIV2K root.

    Returns:
        [(name, HR file, LR file)]; the LR file is None if it has to be made by bicubic.

    Raises:
        UserError: there is no image; several HR folders match; LR files are missing or left over; the folder contains LR
            images; or it mixes several sizes of the same images in an unknown way.
    """
    folder = Path(folder)
    if os.path.isfile(folder):
        return [(folder.name, folder, None)]
    if not os.path.isdir(folder):
        raise UserError(f"{folder}: no such folder{_where_to_get(folder)}")
    folder = _scale_folder(folder, scale)
    hr_folder = _hr_folder(folder, part)
    if hr_folder is None:
        _refuse_lr_folder(folder)
    files = list_images(hr_folder or folder)
    base = hr_folder or folder
    pairs = _pairs_in_one_folder(base, files, scale)
    if pairs is not None:
        return pairs
    _refuse_mixture(base, files)
    lr_folder = _lr_folder(hr_folder, scale) if hr_folder else None
    if lr_folder is None:
        return [(hr.relative_to(base).as_posix(), hr, None) for hr in files]
    return _matched(base, files, lr_folder, scale)


def refuse_scale_one(folder: str | Path, scale: int, pairs: Iterable[Pair]) -> None:
    """Raise UserError if LR images would have to be made at scale 1, where they equal the HR images."""
    if scale == 1 and any(lr is None for _, _, lr in pairs):
        raise UserError(
            f"{folder}: at scale 1 an LR image made with bicubic would equal its HR image; "
            "give the degraded images in LR/X1 beside HR"
        )


def _where_to_get(folder: Path) -> str:
    inside = Path(os.environ.get("MOBILE_SR_DATA") or "") / folder
    if os.environ.get("MOBILE_SR_DATA") and not folder.is_absolute() and os.path.isdir(inside):
        return f"; did you mean {inside}?"
    known = folder.name.lower() in _KNOWN_SETS
    return f"; {folder.name} is not part of mobile-sr: docs/reference/protocol.md says where to get it" if known else ""


def _name(folder: Path) -> str:
    """The name of a folder; works for '.', too."""
    return os.path.basename(os.path.abspath(folder))


def _above(folder: Path) -> Path:
    """The parent of a folder; works for '.', too."""
    return folder / ".." if folder.name in ("", "..") else folder.parent


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir())
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror})") from None


def _scale_folder(folder: Path, scale: int) -> Path:
    """The sub-folder for a scale in a SelfExSR root; any other folder is returned unchanged."""
    names = [_name(folder)] if _SRF_FOLDER.fullmatch(_name(folder)) else [p.name for p in _folders(folder)]
    factors = {int(match[2]): name for name in names if (match := _SRF_FOLDER.fullmatch(name))}
    if not factors:
        return folder
    if scale not in factors:
        scales = ", ".join(f"x{factor}" for factor in sorted(factors))
        raise UserError(f"{folder}: contains images for {scales}, not for x{scale}")
    return folder if names == [_name(folder)] else folder / factors[scale]


def _hr_folder(folder: Path, part: str | None) -> Path | None:
    """The folder with the HR images if the layout is known, else None."""
    if _HR_FOLDER.fullmatch(_name(folder)):
        return folder
    candidates = [p for p in _folders(folder) if _HR_FOLDER.fullmatch(p.name)]
    if len(candidates) > 1 and part:
        candidates = [p for p in candidates if part in p.name.lower()] or candidates
    if len(candidates) > 1:
        raise UserError(f"{folder}: several HR folders ({', '.join(p.name for p in candidates)}); name one of them")
    return candidates[0] if candidates else None


def _lr_folder(hr_folder: Path, scale: int) -> Path | None:
    """The folder with the LR images beside an HR folder; None if there is none for the scale."""
    name = _name(hr_folder)
    base = name[: -len("HR")] if name.upper().endswith("HR") else ""
    above = _above(hr_folder)
    names = {p.name.lower(): p for p in _folders(above)}
    for outer in (f"{base}LR_bicubic", f"{base}LR", f"{base}LQ"):
        for joint in ("/", "_", ""):
            inner = f"{outer}{joint}X{scale}".lower().split("/")
            match = names.get(inner[0])
            if match and len(inner) == 2:
                match = {p.name.lower(): p for p in _folders(match)}.get(inner[1])
            if match:
                return match
    if f"lrbicx{scale}" in names:
        return names[f"lrbicx{scale}"]
    for outer in (f"{base}LR", f"{base}LQ"):  # images without a folder for the scale
        match = names.get(outer.lower())
        if match and any(p.is_file() for p in match.iterdir()):
            return match
    return None


def _refuse_lr_folder(folder: Path) -> None:
    """Refuse a folder of LR images. Scores on LR images treated as HR look plausible and are wrong."""
    name, above = _name(folder), _above(folder)
    if _SCALE_FOLDER.fullmatch(name):
        name, above = _name(above), _above(above)
    if not _LR_FOLDER.fullmatch(name) and not name.lower().startswith("lrbicx"):
        return
    hr_folders = [p for p in _folders(above) if _HR_FOLDER.fullmatch(p.name)]
    if hr_folders:
        raise UserError(f"{folder}: contains the LR images; give the folder of the HR images, such as {hr_folders[0]}")


def _pairs_in_one_folder(base: Path, files: Iterable[Path], scale: int) -> list[Pair] | None:
    """The pairs X_HR.png and X_LR.png in one folder; None if no file has such a name."""
    names = {path.relative_to(base).with_suffix("").as_posix(): path for path in files}
    hr = {match[1]: path for stem, path in names.items() if (match := _HR_STEM.fullmatch(stem))}
    lr = [stem for stem in names if _LR_STEM.fullmatch(stem)]
    if not hr or not lr:
        return None
    pairs = [(path.relative_to(base).as_posix(), path, _one_of(names, _beside(key, scale))) for key, path in hr.items()]
    missing = [name for name, _, lr_file in pairs if lr_file is None]
    if missing:
        raise UserError(f"{base}: no LR image for {missing[0]} at x{scale}")
    used = {path for _, *both in pairs for path in both}
    scaled = re.compile(r".*x(\d+)", re.IGNORECASE)  # X_LRx2, X_LRx3, X_LRx4 belong to the same image at other scales
    other = [p.name for s, p in names.items() if p not in used and not (s in lr and scaled.fullmatch(s))]
    if other:
        raise UserError(f"{base}: contains pairs X_HR and X_LR, and other images such as {other[0]}; move those elsewhere")
    return pairs


def _beside(key: str, scale: int) -> list[str]:
    """Possible stems of the LR image for KEY_HR."""
    return [f"{key}{joint}{low}{end}" for low in ("LR", "LQ") for joint in "_-" for end in (f"x{scale}", f"_x{scale}", "")]


def _one_of(names: Mapping[str, Path], candidates: Iterable[str]) -> Path | None:
    """The file of the first candidate that exists, ignoring case."""
    folded = {stem.lower(): path for stem, path in names.items()}
    return next((folded[c.lower()] for c in candidates if c.lower() in folded), None)


def _matched(hr_folder: Path, hr_files: Sequence[Path], lr_folder: Path, scale: int) -> list[Pair]:
    lr_files = {p.relative_to(lr_folder).with_suffix("").as_posix(): p for p in list_images(lr_folder)}
    if len(lr_files) != len(hr_files):
        raise UserError(f"{lr_folder}: {len(lr_files)} LR images for {len(hr_files)} HR images in {hr_folder}")
    pairs: list[Pair] = []
    for hr in hr_files:
        name = hr.relative_to(hr_folder)
        stem = name.with_suffix("").as_posix()
        key = match[1] if (match := _HR_STEM.fullmatch(stem)) else stem
        lr = _one_of(lr_files, [f"{stem}x{scale}", stem, f"{stem}_x{scale}", *_beside(key, scale), f"{key}x{scale}", key])
        if lr is None:
            raise UserError(f"{lr_folder}: no LR image for {name.as_posix()} (looked for {stem}x{scale} and {stem})")
        pairs.append((name.as_posix(), hr, lr))
    return pairs


def _refuse_mixture(folder: Path, files: Iterable[Path]) -> None:
    """Refuse a folder with several sizes of the same images, because it is unknown which are HR and which are LR.

    Images count as the same if their names are equal without a size tag (x2, _LR, ...). Only their headers are read.
    """
    groups: dict[str, list[Path]] = {}
    for path in files:
        kind = _TAG.search(path.stem)
        key = path.stem[: kind.start()] if kind and kind.start() else path.stem
        groups.setdefault(key, []).append(path)
    for paths in groups.values():
        sizes: dict[tuple[int, int], Path] = {}
        for path in paths if len(paths) > 1 else ():
            try:
                sizes.setdefault(image_size(path), path)
            except UserError:  # reported when the file is read
                continue
        if len(sizes) > 1:
            large, *small = (sizes[size] for size in sorted(sizes, reverse=True))
            described = {p: f"{p.relative_to(folder).as_posix()} ({'x'.join(map(str, s))})" for s, p in sizes.items()}
            raise UserError(
                f"{folder}: contains several sizes of the same images, such as {described[large]} and "
                f"{', '.join(described[p] for p in small[:3])}; give the folder of the HR images, or see "
                "docs/reference/protocol.md"
            )
