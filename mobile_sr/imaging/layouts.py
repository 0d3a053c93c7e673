"""Data-set layouts: which files of a folder are HR images, and which are their LR images."""

import os
import re
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


def find_pairs(folder, scale, part=None):
    """The (name, HR file, LR file or None) triples of a folder, or of one image file.

    Understood:
        DIV2K: `*_HR` beside `*_LR_bicubic/X2`, files 0001.png and 0001x2.png.
        `HR` or `GT`, and optionally `LR/X2`, `LR_bicubic/X2`, `LR_x2` or `LR`.
        BasicSR: `GTmod12` (any number) beside `LRbicx2`, `LRbicx3`, ...
        SelfExSR: `image_SRF_2` with X_HR.png and X_LR.png; such pairs in any one folder.
        Any other folder: HR images, sub-folders included. LR images are then made by bicubic.
    The HR folder itself may be given instead of the one above it.

    Args:
        part: 'train' or 'valid', which chooses where a DIV2K root holds both.
    Raises: UserError when there is no image, when several HR folders fit, when LR files are missing or left over, when the
        folder holds the LR images, or when it mixes several sizes of the same images in an unknown way.
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


def refuse_scale_one(folder, scale, pairs):
    """Raise UserError when LR images would have to be made at scale 1, where they equal the HR images."""
    if scale == 1 and any(lr is None for _, _, lr in pairs):
        raise UserError(
            f"{folder}: at scale 1 an LR image made from its HR image is that image, and a figure would mean nothing; "
            "give the degraded images in LR/X1 beside HR"
        )


def _where_to_get(folder):
    inside = Path(os.environ.get("MOBILE_SR_DATA") or "") / folder
    if os.environ.get("MOBILE_SR_DATA") and not folder.is_absolute() and os.path.isdir(inside):
        return f"; did you mean {inside}?"
    known = folder.name.lower() in _KNOWN_SETS
    return f"; {folder.name} is not part of mobile-sr: docs/reference/protocol.md says where to get it" if known else ""


def _name(folder):
    """The folder's own name, also of '.'."""
    return os.path.basename(os.path.abspath(folder))


def _above(folder):
    """The folder above, also of '.'."""
    return folder / ".." if folder.name in ("", "..") else folder.parent


def _folders(folder):
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir())
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror})") from None


def _scale_folder(folder, scale):
    """Of SelfExSR's root the sub-folder of the scale; any other folder as it is."""
    names = [_name(folder)] if _SRF_FOLDER.fullmatch(_name(folder)) else [p.name for p in _folders(folder)]
    factors = {int(match[2]): name for name in names if (match := _SRF_FOLDER.fullmatch(name))}
    if not factors:
        return folder
    if scale not in factors:
        scales = ", ".join(f"x{factor}" for factor in sorted(factors))
        raise UserError(f"{folder}: holds images for {scales}, not for x{scale}")
    return folder if names == [_name(folder)] else folder / factors[scale]


def _hr_folder(folder, part):
    """The folder with the HR images where the layout is a known one, else None."""
    if _HR_FOLDER.fullmatch(_name(folder)):
        return folder
    candidates = [p for p in _folders(folder) if _HR_FOLDER.fullmatch(p.name)]
    if len(candidates) > 1 and part:
        candidates = [p for p in candidates if part in p.name.lower()] or candidates
    if len(candidates) > 1:
        raise UserError(f"{folder}: several HR folders ({', '.join(p.name for p in candidates)}); name one of them")
    return candidates[0] if candidates else None


def _lr_folder(hr_folder, scale):
    """The LR images' folder beside an HR folder, None where there is none for the scale."""
    name = _name(hr_folder)
    base = name[: -len("HR")] if name.upper().endswith("HR") else ""
    above = _above(hr_folder)
    names = {p.name.lower(): p for p in _folders(above)}
    for outer in (f"{base}LR_bicubic", f"{base}LR", f"{base}LQ"):
        for joint in ("/", "_", ""):
            inner = f"{outer}{joint}X{scale}".lower().split("/")
            found = names.get(inner[0])
            if found and len(inner) == 2:
                found = {p.name.lower(): p for p in _folders(found)}.get(inner[1])
            if found:
                return found
    if f"lrbicx{scale}" in names:
        return names[f"lrbicx{scale}"]
    for outer in (f"{base}LR", f"{base}LQ"):  # images without a folder for the scale
        found = names.get(outer.lower())
        if found and any(p.is_file() for p in found.iterdir()):
            return found
    return None


def _refuse_lr_folder(folder):
    """LR images measured as if they were HR give a figure that looks right and is not."""
    name, above = _name(folder), _above(folder)
    if _SCALE_FOLDER.fullmatch(name):
        name, above = _name(above), _above(above)
    if not _LR_FOLDER.fullmatch(name) and not name.lower().startswith("lrbicx"):
        return
    hr_folders = [p for p in _folders(above) if _HR_FOLDER.fullmatch(p.name)]
    if hr_folders:
        raise UserError(f"{folder}: holds the LR images; name its HR images' folder, such as {hr_folders[0]}")


def _pairs_in_one_folder(base, files, scale):
    """The triples where X_HR.png and X_LR.png are in one folder; None where no file is called so."""
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
    scaled = re.compile(r".*x(\d+)", re.IGNORECASE)  # X_LRx2, X_LRx3, X_LRx4 are the same image's at other scales
    other = [p.name for s, p in names.items() if p not in used and not (s in lr and scaled.fullmatch(s))]
    if other:
        raise UserError(f"{base}: holds pairs X_HR and X_LR, and other images such as {other[0]}; move those elsewhere")
    return pairs


def _beside(key, scale):
    return [f"{key}{joint}{low}{end}" for low in ("LR", "LQ") for joint in "_-" for end in (f"x{scale}", f"_x{scale}", "")]


def _one_of(names, candidates):
    """The file of the first candidate that there is, upper and lower case alike."""
    folded = {stem.lower(): path for stem, path in names.items()}
    return next((folded[c.lower()] for c in candidates if c.lower() in folded), None)


def _matched(hr_folder, hr_files, lr_folder, scale):
    lr_files = {p.relative_to(lr_folder).with_suffix("").as_posix(): p for p in list_images(lr_folder)}
    if len(lr_files) != len(hr_files):
        raise UserError(f"{lr_folder}: {len(lr_files)} LR images for {len(hr_files)} HR images in {hr_folder}")
    pairs = []
    for hr in hr_files:
        name = hr.relative_to(hr_folder)
        stem = name.with_suffix("").as_posix()
        key = match[1] if (match := _HR_STEM.fullmatch(stem)) else stem
        lr = _one_of(lr_files, [f"{stem}x{scale}", stem, f"{stem}_x{scale}", *_beside(key, scale), f"{key}x{scale}", key])
        if lr is None:
            raise UserError(f"{lr_folder}: no LR image for {name.as_posix()} (looked for {stem}x{scale} and {stem})")
        pairs.append((name.as_posix(), hr, lr))
    return pairs


def _refuse_mixture(folder, files):
    """Refuse a folder that holds several sizes of the same images: which are HR, and which LR, is not known.

    Images are taken for the same when their names are, without what says a size (x2, _LR, ...). Only their headers are read.
    """
    same = {}
    for path in files:
        kind = _TAG.search(path.stem)
        key = path.stem[: kind.start()] if kind and kind.start() else path.stem
        same.setdefault(key, []).append(path)
    for paths in same.values():
        sizes = {}
        for path in paths if len(paths) > 1 else ():
            try:
                sizes.setdefault(image_size(path), path)
            except UserError:  # said by whoever reads it
                continue
        if len(sizes) > 1:
            large, *small = (sizes[size] for size in sorted(sizes, reverse=True))
            described = {p: f"{p.relative_to(folder).as_posix()} ({'x'.join(map(str, s))})" for s, p in sizes.items()}
            raise UserError(
                f"{folder}: holds several sizes of the same images, such as {described[large]} and "
                f"{', '.join(described[p] for p in small[:3])}; name the folder of the HR images, or see "
                "docs/reference/protocol.md"
            )
