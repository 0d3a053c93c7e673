"""Training images: a decoded cache of a folder's HR and LR images, and seeded patches."""

import contextlib
import hashlib
import json
import math
import os
import sys
import time
from pathlib import Path

import numpy as np

from mobile_sr.converters.printable import printable
from mobile_sr.errors import UserError
from mobile_sr.files import atomic_path, make_folder, sha256, sweep, write_json
from mobile_sr.imaging import flat_colours
from mobile_sr.imaging.layouts import find_pairs, refuse_scale_one
from mobile_sr.imaging.pairs import read_pair
from mobile_sr.imaging.resize import downscale, imresize, modcrop

_CACHE_VERSION = 1


def default_cache():
    """Where decoded training images go: MOBILE_SR_CACHE, else ~/.cache/mobile-sr."""
    return Path(os.environ.get("MOBILE_SR_CACHE") or Path.home() / ".cache" / "mobile-sr")


class TrainingImages:
    """Decoded HR and LR images of a folder, kept as two memory-mapped uint8 files.

    Attributes:
        names: one per image, a smaller copy's the same as its original's. Exact duplicates (same HR pixels) are kept once.
        originals: for each image the index of the one that it is a smaller copy of; its own where it is none.
        sha256: hash over all HR and LR pixels and shapes: names the training data.
    """

    def __init__(self, folder, scale, cache=None, smallest=1, downscale_factors=()):
        """Open the cached arrays of `folder`, making them first if a file is new or has changed.

        Images whose LR side is shorter than `smallest` pixels are padded by reflection. Each of `downscale_factors`, factors
        below 1, adds every image shrunk by bicubic, its LR image made of that (Dong et al., ECCV 2016, Sec. 4.1), unless
        that would have to be padded.
        Unreadable files are named on standard error and left out.
        Raises: UserError when nothing is left, or as `find_pairs`.
        """
        self.scale = scale
        pairs = find_pairs(folder, scale, part="train")
        refuse_scale_one(folder, scale, pairs)
        about = [_CACHE_VERSION, scale, smallest, str(Path(folder).resolve()), *downscale_factors]
        key = hashlib.sha256(json.dumps(about).encode())
        for _, hr, lr in pairs:
            for file in (hr, lr):
                if file is not None:
                    stat = file.stat()
                    key.update(f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        cache = Path(cache or default_cache())
        _sweep_cache(cache)
        place = cache / key.hexdigest()[:24]
        if not (place / "index.json").exists():
            self._fill(place, pairs, smallest, downscale_factors)
        index = json.loads((place / "index.json").read_text())
        self.names = index["names"]
        first = {}
        self.originals = [first.setdefault(name, i) for i, name in enumerate(self.names)]
        self.sha256 = index["sha256"]
        flat_hr = np.memmap(place / "hr.bin", np.uint8, "r")
        flat_lr = np.memmap(place / "lr.bin", np.uint8, "r")
        self.hr, self.lr = [], []
        hr_at = lr_at = 0
        for height, width in index["lr_shapes"]:
            size = height * width * 3
            self.lr.append(flat_lr[lr_at : lr_at + size].reshape(height, width, 3))
            self.hr.append(flat_hr[hr_at : hr_at + size * scale**2].reshape(height * scale, width * scale, 3))
            lr_at, hr_at = lr_at + size, hr_at + size * scale**2

    def __len__(self):
        return len(self.names)

    def _fill(self, place, pairs, smallest, downscale_factors):
        make_folder(place)
        names, shapes, seen = [], [], {}
        digest = hashlib.sha256()
        with (
            atomic_path(place / "hr.bin") as hr_path,
            atomic_path(place / "lr.bin") as lr_path,
            open(hr_path, "wb") as hr_out,
            open(lr_path, "wb") as lr_out,
        ):
            for count, (name, hr_file, lr_file) in enumerate(pairs, 1):
                if count % 50 == 0 or count == len(pairs):
                    print(f"\rdecoding training images {count}/{len(pairs)}", end="", file=sys.stderr, flush=True)
                try:
                    hr, lr = read_pair(hr_file, lr_file, self.scale)
                except UserError as error:
                    print(f"\nleft out: {error}", file=sys.stderr)
                    continue
                mark = sha256(np.ascontiguousarray(hr)) + str(hr.shape)
                if mark in seen:
                    print(f"\nleft out: {printable(name)} is the same image as {printable(seen[mark])}", file=sys.stderr)
                    continue
                seen[mark] = name
                for large, small in [(hr, lr), *_shrunk(hr, self.scale, smallest, downscale_factors)]:
                    hr, lr = _pad(large, smallest * self.scale), _pad(small, smallest)
                    digest.update(f"{hr.shape}{lr.shape}".encode() + hr.tobytes() + lr.tobytes())
                    hr_out.write(hr.tobytes())
                    lr_out.write(lr.tobytes())
                    names.append(name)
                    shapes.append(lr.shape[:2])
            print(file=sys.stderr)
            if not names:
                raise UserError("no usable training image was left; see the lines above")
        write_json(place / "index.json", {"names": names, "lr_shapes": shapes, "sha256": digest.hexdigest()})


def _sweep_cache(cache):
    """Remove what killed processes left in the cache, which are gigabytes and may never be opened under the same key again.

    Whole arrays without index.json are left by one that was killed before it wrote that, which follows within moments.
    """
    for place in cache.glob("[0-9a-f]" * 24):
        sweep(place)
        for file in () if (place / "index.json").exists() else place.glob("*.bin"):
            with contextlib.suppress(OSError):  # another process was quicker
                if time.time() - file.stat().st_mtime > 3600:
                    file.unlink()


def _shrunk(image, scale, smallest, factors):
    """The (HR, LR) of the smaller copies of an HR image, but for those whose LR side is shorter than `smallest`."""
    small = (imresize(image, factor) for factor in factors)
    return [(modcrop(hr, scale), downscale(hr, scale)) for hr in small if min(hr.shape[:2]) >= smallest * scale]


def _pad(image, side):
    """Reflect at the bottom and right until both sides reach `side`."""
    down, right = (max(0, side - length) for length in image.shape[:2])
    return np.pad(image, ((0, down), (0, right), (0, 0)), mode="symmetric") if down or right else image


def split_validation(images, count, crop):
    """Held-out images for validation: every k-th one whose LR image holds a crop x crop square.

    They are `count`, but at most a quarter of all images: of a few photos, too, most are trained on. Smaller copies are
    neither counted nor held out, and those of held-out images are not trained on.

    Returns: (training indices, validation indices). Deterministic. Raises: UserError when images are too few or small.
    """
    whole = sorted(set(images.originals))
    count = min(count, math.ceil(len(whole) / 4))
    large = [i for i in whole if min(images.lr[i].shape[:2]) >= crop]
    if len(large) < count or len(whole) <= count:
        raise UserError(
            f"{len(large)} of {len(whole)} training images hold an LR crop of {crop}x{crop}; "
            f"validation needs {count} and training at least one more; use more or larger images"
        )
    held_out = {large[(2 * k + 1) * len(large) // (2 * count)] for k in range(count)}
    return [i for i, original in enumerate(images.originals) if original not in held_out], sorted(held_out)


def center_crops(images, indices, crop):
    """([V, crop, crop, 3], [V, crop * s, crop * s, 3]) uint8 LR and HR centre crops of the given images."""
    s, lr, hr = images.scale, [], []
    for i in indices:
        top, left = ((side - crop) // 2 for side in images.lr[i].shape[:2])
        lr.append(images.lr[i][top : top + crop, left : left + crop])
        hr.append(images.hr[i][top * s : (top + crop) * s, left * s : (left + crop) * s])
    return np.stack(lr), np.stack(hr)


def patch_batch(
    images, indices, step, *, batch, patch, brightness_factors, seed, share=slice(None), mixing="none", flat_share=0.0
):
    """The training batch of one step; a pure function of its arguments, so that resumed runs see the same data.

    Each sample: a uniform image, a uniform crop, one of the eight rotations and flips, one intensity factor
    (Ayazoglu 2021, Sec. 4.2).

    Args:
        share: which of the batch's samples to make. mixing: 'none' or a kind of `mixed`.
        flat_share: probability that a sample is a flat colour or a ramp (flat_colours.patch) instead of a crop.
    Returns: ([batch, patch, patch, 3], [batch, patch * s, patch * s, 3]) float32 in 0..1, of `share`.
    """
    if mixing != "none":
        how = {"batch": batch, "patch": patch, "brightness_factors": brightness_factors, "seed": seed, "flat_share": flat_share}
        whole = patch_batch(images, indices, step, **how)
        return tuple(part[share] for part in mixed(*whole, mixing, np.random.default_rng([seed, step, 2])))
    rng = np.random.default_rng([seed, step])
    s = images.scale
    picks = rng.integers(len(indices), size=batch)
    places = rng.random((batch, 2))
    turns = rng.integers(8, size=batch)
    factors = rng.choice(np.asarray(brightness_factors, np.float32), size=batch) / np.float32(255)
    is_flat = np.random.default_rng([seed, step, 3]).random(batch) < flat_share
    made = range(batch)[share]
    lr = np.empty((len(made), patch, patch, 3), np.float32)
    hr = np.empty((len(made), patch * s, patch * s, 3), np.float32)
    for at, n in enumerate(made):
        if is_flat[n]:
            pair = flat_colours.patch(np.random.default_rng([seed, step, 3, n]), patch, patch, s)
            lr[at], hr[at] = (part / np.float32(255) for part in pair)
            continue
        small, large = images.lr[indices[picks[n]]], images.hr[indices[picks[n]]]
        top = int(places[n, 0] * (small.shape[0] - patch + 1))
        left = int(places[n, 1] * (small.shape[1] - patch + 1))
        a = small[top : top + patch, left : left + patch]
        b = large[top * s : (top + patch) * s, left * s : (left + patch) * s]
        if turns[n] >= 4:
            a, b = a[:, ::-1], b[:, ::-1]
        np.multiply(np.rot90(a, turns[n] % 4), factors[n], out=lr[at], casting="unsafe")
        np.multiply(np.rot90(b, turns[n] % 4), factors[n], out=hr[at], casting="unsafe")
    return lr, hr


def mixed(lr, hr, kind, rng):
    """A batch of which each sample is mixed with another one, LR and HR alike, with the probability 1/2.

    Args:
        kind: 'mixup' (a weighted sum, weights of Beta(1.2, 1.2)), 'cutmix' (a square of the other one, a quarter of the area)
            or 'colours' (its own channels in another order); Yoo et al., CVPR 2020, Sec. 2.
    """
    batch, patch, scale = len(lr), lr.shape[1], hr.shape[1] // lr.shape[1]
    others, chosen, shares = rng.permutation(batch), rng.random(batch) < 0.5, rng.beta(1.2, 1.2, batch).astype(np.float32)
    places, orders = rng.integers(patch - patch // 2 + 1, size=(batch, 2)), rng.permuted(np.tile(range(3), (batch, 1)), axis=1)
    made = []
    for images, s in ((lr, 1), (hr, scale)):
        new = images.copy()
        for n in np.flatnonzero(chosen):
            if kind == "mixup":
                new[n] = shares[n] * images[n] + (1 - shares[n]) * images[others[n]]
            elif kind == "cutmix":
                (top, left), side = places[n] * s, patch // 2 * s
                new[n, top : top + side, left : left + side] = images[others[n], top : top + side, left : left + side]
            else:
                new[n] = images[n][..., orders[n]]
        made.append(new)
    return tuple(made)
