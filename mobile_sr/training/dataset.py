"""Training data: a cache of a folder's decoded HR and LR images, and batches of seeded random patches."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr.converters.printable import printable
from mobile_sr.errors import UserError
from mobile_sr.files import atomic_path, cache_folder, make_folder, sha256, sweep, write_json
from mobile_sr.imaging import flat_colours
from mobile_sr.imaging.degradation import Degradation, add_noise_and_jpeg
from mobile_sr.imaging.layouts import find_pairs, refuse_scale_one
from mobile_sr.imaging.pairs import read_pair
from mobile_sr.imaging.resize import downscale, imresize, modcrop

_CACHE_VERSION = 1


class TrainingImages:
    """Decoded HR and LR images of a folder, stored in two memory-mapped uint8 files.

    Exact duplicates (same HR pixels) are kept once.

    Attributes:
        scale: upscaling factor.
        names: name of each image. A downscaled copy has the name of its original.
        originals: for each image, the index of the image that it is a downscaled copy of, or its own index.
        hr: the HR images, [H * scale, W * scale, 3] uint8.
        lr: the LR images, [H, W, 3] uint8.
        given_lr: whether the folder has LR images; they are made from the HR images otherwise.
        sha256: hash of all HR and LR pixels and shapes. It identifies the training data.
    """

    def __init__(
        self,
        folder: str | Path,
        scale: int,
        cache: str | Path | None = None,
        smallest: int = 1,
        downscale_factors: Sequence[float] = (),
    ) -> None:
        """Open the cached arrays of `folder`. Decode the images first if a file is new or has changed.

        Unreadable files are reported on standard error and skipped.

        Args:
            folder: folder of training images in a layout that `find_pairs` knows.
            scale: upscaling factor.
            cache: folder of the cache; None is `files.cache_folder()`.
            smallest: minimum LR side in pixels. Smaller images are padded by reflection.
            downscale_factors: factors below 1. Each adds a bicubically downscaled copy of every image, with an LR image made
                from that copy (Dong et al., ECCV 2016, Sec. 4.1). Copies that would need padding are left out.

        Raises:
            UserError: when no usable image is left, or as `find_pairs`.
        """
        self.scale = scale
        pairs = find_pairs(folder, scale, part="train")
        self.given_lr = any(lr is not None for _, _, lr in pairs)
        refuse_scale_one(folder, scale, pairs)
        settings = [_CACHE_VERSION, scale, smallest, str(Path(folder).resolve()), *downscale_factors]
        key = hashlib.sha256(json.dumps(settings).encode())
        for _, hr, lr in pairs:
            for file in (hr, lr):
                if file is not None:
                    stat = file.stat()
                    key.update(f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        cache = Path(cache or cache_folder())
        _sweep_cache(cache)
        entry = cache / key.hexdigest()[:24]
        if not (entry / "index.json").exists():
            self._fill(entry, pairs, smallest, downscale_factors)
        index = json.loads((entry / "index.json").read_text())
        self.names: list[str] = index["names"]
        first: dict[str, int] = {}
        self.originals = [first.setdefault(name, i) for i, name in enumerate(self.names)]
        self.sha256: str = index["sha256"]
        flat_hr = np.memmap(entry / "hr.bin", np.uint8, "r")
        flat_lr = np.memmap(entry / "lr.bin", np.uint8, "r")
        self.hr: list[np.ndarray] = []
        self.lr: list[np.ndarray] = []
        hr_start = lr_start = 0
        for height, width in index["lr_shapes"]:
            size = height * width * 3
            self.lr.append(flat_lr[lr_start : lr_start + size].reshape(height, width, 3))
            self.hr.append(flat_hr[hr_start : hr_start + size * scale**2].reshape(height * scale, width * scale, 3))
            lr_start, hr_start = lr_start + size, hr_start + size * scale**2

    def __len__(self) -> int:
        return len(self.names)

    def _fill(
        self,
        entry: Path,
        pairs: Sequence[tuple[str, Path, Path | None]],
        smallest: int,
        downscale_factors: Sequence[float],
    ) -> None:
        """Decode all pairs into the cache folder `entry`."""
        make_folder(entry)
        names: list[str] = []
        shapes: list[tuple[int, ...]] = []
        name_of_image: dict[str, str] = {}
        digest = hashlib.sha256()
        with (
            atomic_path(entry / "hr.bin") as hr_path,
            atomic_path(entry / "lr.bin") as lr_path,
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
                image_key = sha256(np.ascontiguousarray(hr).data) + str(hr.shape)
                if image_key in name_of_image:
                    same = name_of_image[image_key]
                    print(f"\nleft out: {printable(name)} is the same image as {printable(same)}", file=sys.stderr)
                    continue
                name_of_image[image_key] = name
                for large, small in [(hr, lr), *_shrunk(hr, self.scale, smallest, downscale_factors)]:
                    hr, lr = _pad(large, smallest * self.scale), _pad(small, smallest)
                    digest.update(f"{hr.shape}{lr.shape}".encode() + hr.tobytes() + lr.tobytes())
                    hr_out.write(hr.tobytes())
                    lr_out.write(lr.tobytes())
                    names.append(name)
                    shapes.append(lr.shape[:2])
            print(file=sys.stderr)
            if not names:
                raise UserError("no usable training image; the lines above say why each file was left out")
        write_json(entry / "index.json", {"names": names, "lr_shapes": shapes, "sha256": digest.hexdigest()})


def _sweep_cache(cache: Path) -> None:
    """Remove what killed processes left in the cache: gigabytes that may never be opened under the same key again.

    Complete arrays without an index.json come from a process that was killed just before writing it.
    """
    for entry in cache.glob("[0-9a-f]" * 24):
        sweep(entry)
        for file in () if (entry / "index.json").exists() else entry.glob("*.bin"):
            with contextlib.suppress(OSError):  # another process has removed it
                if time.time() - file.stat().st_mtime > 3600:
                    file.unlink()


def _shrunk(image: np.ndarray, scale: int, smallest: int, factors: Iterable[float]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The (HR, LR) pairs of the downscaled copies of an HR image, without those whose LR side is below `smallest`."""
    small = (imresize(image, factor) for factor in factors)
    return [(modcrop(hr, scale), downscale(hr, scale)) for hr in small if min(hr.shape[:2]) >= smallest * scale]


def _pad(image: np.ndarray, side: int) -> np.ndarray:
    """Pad by reflection at the bottom and right until both sides are at least `side`."""
    down, right = (max(0, side - length) for length in image.shape[:2])
    return np.pad(image, ((0, down), (0, right), (0, 0)), mode="symmetric") if down or right else image


def split_validation(images: TrainingImages, count: int, crop: int) -> tuple[list[int], list[int]]:
    """Split images into training and held-out validation images: every k-th image that is large enough is held out.

    At most a quarter of all images is held out, so that most of a small set remains for training. Downscaled copies are
    neither counted nor held out, and those of held-out images are left out of training. Deterministic.

    Args:
        images: the training images.
        count: number of validation images.
        crop: side in LR pixels of the square that a validation image must contain.

    Returns:
        (training indices, validation indices).

    Raises:
        UserError: when there are too few images, or too few large ones.
    """
    originals = sorted(set(images.originals))
    count = min(count, math.ceil(len(originals) / 4))
    large = [i for i in originals if min(images.lr[i].shape[:2]) >= crop]
    if len(large) < count or len(originals) <= count:
        raise UserError(
            f"{len(large)} of {len(originals)} training images contain an LR crop of {crop}x{crop}; "
            f"validation needs {count} and training at least one more; use more or larger images"
        )
    held_out = {large[(2 * k + 1) * len(large) // (2 * count)] for k in range(count)}
    return [i for i, original in enumerate(images.originals) if original not in held_out], sorted(held_out)


def center_crops(images: TrainingImages, indices: Iterable[int], crop: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut the centre crops of V images.

    Args:
        images: the training images.
        indices: indices of the V images.
        crop: side of the crops in LR pixels.

    Returns:
        (LR [V, crop, crop, 3], HR [V, crop * s, crop * s, 3]), uint8.
    """
    s = images.scale
    lr: list[np.ndarray] = []
    hr: list[np.ndarray] = []
    for i in indices:
        top, left = ((side - crop) // 2 for side in images.lr[i].shape[:2])
        lr.append(images.lr[i][top : top + crop, left : left + crop])
        hr.append(images.hr[i][top * s : (top + crop) * s, left * s : (left + crop) * s])
    return np.stack(lr), np.stack(hr)


def patch_batch(
    images: TrainingImages,
    indices: Sequence[int],
    step: int,
    *,
    batch: int,
    patch: int,
    brightness_factors: Sequence[float],
    seed: int,
    share: slice = slice(None),
    mixing: str = "none",
    flat_share: float = 0.0,
    degradation: Degradation | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Make the training batch of one step. The result depends on the arguments alone, so resumed runs see the same data.

    Each sample is a random crop of a random image, with one of the eight rotations and flips and one brightness factor, all
    drawn uniformly (Ayazoglu 2021, Sec. 4.2).

    Args:
        images: the training images.
        indices: indices of the images to draw from.
        step: number of the step, from 0.
        batch: number of samples.
        patch: side of the crops in LR pixels.
        brightness_factors: factors to draw from.
        seed: the run's seed.
        share: slice of the batch to make; the default is all of it.
        mixing: 'none' or a kind of `mixed`.
        flat_share: probability that a sample is a flat colour or a ramp (flat_colours.patch) instead of a crop.
        degradation: what degrades each LR crop, before rotation, brightness and mixing. Flat colours and ramps get its noise
            and JPEG. The crops are those without it.

    Returns:
        ([batch, patch, patch, 3], [batch, patch * s, patch * s, 3]) float32 in 0..1, restricted to `share`.
    """
    if mixing != "none":
        options: dict[str, Any] = {"batch": batch, "patch": patch, "seed": seed, "flat_share": flat_share}
        options |= {"brightness_factors": brightness_factors, "degradation": degradation}
        lr, hr = patch_batch(images, indices, step, **options)
        lr, hr = mix_batch(lr, hr, mixing, np.random.default_rng([seed, step, 2]))
        return lr[share], hr[share]
    rng = np.random.default_rng([seed, step])
    s = images.scale
    picks = rng.integers(len(indices), size=batch)
    positions = rng.random((batch, 2))
    orientations = rng.integers(8, size=batch)
    factors = rng.choice(np.asarray(brightness_factors, np.float32), size=batch) / np.float32(255)
    is_flat = np.random.default_rng([seed, step, 3]).random(batch) < flat_share
    samples = range(batch)[share]
    lr = np.empty((len(samples), patch, patch, 3), np.float32)
    hr = np.empty((len(samples), patch * s, patch * s, 3), np.float32)
    for row, n in enumerate(samples):
        if is_flat[n]:
            a, b = flat_colours.patch(np.random.default_rng([seed, step, 3, n]), patch, patch, s)
            if degradation:
                rng = np.random.default_rng([seed, step, 5, n])
                a = add_noise_and_jpeg(a.astype(np.uint8), degradation.draw(rng), rng)
            lr[row], hr[row] = a / np.float32(255), b / np.float32(255)
            continue
        small, large = images.lr[indices[picks[n]]], images.hr[indices[picks[n]]]
        top = int(positions[n, 0] * (small.shape[0] - patch + 1))
        left = int(positions[n, 1] * (small.shape[1] - patch + 1))
        if degradation:
            rng = np.random.default_rng([seed, step, 5, n])
            a, _ = degradation.apply(small, large, rng, (top, left, patch, patch))
        else:
            a = small[top : top + patch, left : left + patch]
        b = large[top * s : (top + patch) * s, left * s : (left + patch) * s]
        if orientations[n] >= 4:
            a, b = a[:, ::-1], b[:, ::-1]
        np.multiply(np.rot90(a, orientations[n] % 4), factors[n], out=lr[row], casting="unsafe")
        np.multiply(np.rot90(b, orientations[n] % 4), factors[n], out=hr[row], casting="unsafe")
    return lr, hr


def mix_batch(lr: np.ndarray, hr: np.ndarray, kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Mix each sample of a batch with another one, in LR and HR alike, with a probability of 1/2.

    Args:
        lr: [N, P, P, 3] LR patches.
        hr: [N, P * s, P * s, 3] HR patches.
        kind: 'mixup' (a weighted sum with weights from Beta(1.2, 1.2)), 'cutmix' (a square of the other sample, a quarter of
            the area) or 'colours' (the sample's own channels in another order). See Yoo et al., CVPR 2020, Sec. 2.
        rng: source of randomness.

    Returns:
        (lr, hr), mixed.
    """
    batch, patch, scale = len(lr), lr.shape[1], hr.shape[1] // lr.shape[1]
    others, chosen, shares = rng.permutation(batch), rng.random(batch) < 0.5, rng.beta(1.2, 1.2, batch).astype(np.float32)
    corners, orders = rng.integers(patch - patch // 2 + 1, size=(batch, 2)), rng.permuted(np.tile(range(3), (batch, 1)), axis=1)

    def mix(images: np.ndarray, s: int) -> np.ndarray:
        new = images.copy()
        for n in np.flatnonzero(chosen):
            if kind == "mixup":
                new[n] = shares[n] * images[n] + (1 - shares[n]) * images[others[n]]
            elif kind == "cutmix":
                (top, left), side = corners[n] * s, patch // 2 * s
                new[n, top : top + side, left : left + side] = images[others[n], top : top + side, left : left + side]
            else:
                new[n] = images[n][..., orders[n]]
        return new

    return mix(lr, 1), mix(hr, scale)
