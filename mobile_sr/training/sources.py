"""Sources of training images: a folder, or the function of a recipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mobile_sr.converters.quiet import print_line
from mobile_sr.errors import UserError
from mobile_sr.files import sha256
from mobile_sr.imaging import degradation
from mobile_sr.training import dataset, distributed, user_code
from mobile_sr.training.recipes import Recipe

_VALIDATION_SEED = 0  # of the degradation of validation images


class Source(Protocol):
    """Where a training's images come from."""

    sha256: str  # of the images
    record: dict[str, Any]  # the "data" of config.json

    def validation(self) -> tuple[np.ndarray, np.ndarray]:
        """Return ([V, H, W, 3] LR, [V, H * s, W * s, 3] HR) uint8 validation images."""

    def batch(self, step: int, share: slice, clean: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return the training batch of a step: ([N, P, P, 3], [N, P * s, P * s, 3]) float32 in 0..1, restricted to `share`.

        `clean` leaves out the recipe's degradation of the LR patches.
        """


def open_source(recipe: Recipe, folder: str | Path | None, cache: str | Path | None) -> Source:
    """Open the images of a training: those of the recipe's function if it has one, else those of the folder.

    Raises:
        UserError: when there is neither, or the images are unusable.
    """
    if recipe.hooks.data:
        return FunctionSource(recipe, recipe.hooks.data)
    if folder is None:
        raise UserError("no images: give --data DIR, or a recipe with a data function")
    return FolderSource(recipe, folder, cache)


class FolderSource:
    """A folder of images, some of which are held out for validation."""

    def __init__(self, recipe: Recipe, folder: str | Path, cache: str | Path | None) -> None:
        """Read the folder; see dataset.TrainingImages and dataset.split_validation, also for errors."""
        self._recipe = recipe
        self._degradation = degradation.parse(recipe.degrade)
        self._images = dataset.TrainingImages(folder, recipe.network["scale"], cache, recipe.patch, recipe.downscale_factors)
        self.sha256 = self._images.sha256
        self._indices: Sequence[int]
        self._indices, self._held_out = dataset.split_validation(self._images, recipe.validation_images, recipe.validation_crop)
        self.record: dict[str, Any] = {
            "sha256": self.sha256,
            "images": len(set(self._images.originals)),
            "held_out": [self._images.names[i] for i in self._held_out],
        }
        self._validation = dataset.center_crops(self._images, self._held_out, recipe.validation_crop)
        if self._degradation:
            self._degrade_validation(self._degradation)

    def _degrade_validation(self, ranges: degradation.Degradation) -> None:
        """Degrade the LR validation images. Their seed is not the run's, so that runs with different seeds compare."""
        if self._images.given_lr and ranges.blur[1] and distributed.rank() == 0:
            text = "the LR images of the folder are not used: --degrade blurs the HR images before the downscaling"
            print_line(text, sys.stderr)
        seeded = degradation.SeededDegradation(ranges, _VALIDATION_SEED)
        pairs = [seeded.apply(lr, hr) for lr, hr in zip(*self._validation, strict=True)]
        self._validation = np.stack([lr for lr, _ in pairs]), self._validation[1]
        self.record["held_out_degradation"] = [amounts._asdict() for _, amounts in pairs]

    def validation(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the centre crops of the held-out images."""
        return self._validation

    def batch(self, step: int, share: slice, clean: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return random crops; see dataset.patch_batch."""
        r = self._recipe
        return dataset.patch_batch(
            self._images,
            self._indices,
            step,
            batch=r.batch,
            patch=r.patch,
            brightness_factors=r.brightness_factors,
            seed=r.seed,
            share=share,
            mixing=r.mixing,
            flat_share=r.flat_share,
            degradation=None if clean else self._degradation,
        )


class FunctionSource:
    """The data function of a recipe (hooks.Hooks). A batch depends on the seed and the step alone, so runs resume exactly."""

    def __init__(self, recipe: Recipe, function: Callable[..., Any]) -> None:
        """Make the validation images.

        Raises:
            UserError: when the function fails or returns something else, or when the recipe changes batches of a folder.
        """
        self._recipe, self._function = recipe, function
        self._name = user_code.name_of(function)
        for field, off in (("mixing", "none"), ("flat_share", 0), ("downscale_factors", ()), ("degrade", "")):
            if getattr(recipe, field) != off:
                raise UserError(f"--set {field}: not used with a data function; do it in {self._name}")
        lr, hr = self._call(-1, recipe.validation_images, recipe.validation_crop)
        self._validation = tuple(np.floor(part * 255 + 0.5).astype(np.uint8) for part in (lr, hr))
        self.sha256 = sha256(b"".join(part.tobytes() for part in self._validation))
        self.record: dict[str, Any] = {"sha256": self.sha256, "images": 0, "held_out": [], "function": self._name}

    def validation(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what the function gives for step -1."""
        return self._validation[0], self._validation[1]

    def batch(self, step: int, share: slice, clean: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return what the function gives for a step."""
        with user_code.recorded():
            lr, hr = self._call(step, self._recipe.batch, self._recipe.patch)
        return lr[share], hr[share]

    def _call(self, step: int, batch: int, patch: int) -> tuple[np.ndarray, np.ndarray]:
        """(LR, HR) of a step, float32 in 0..1. Raises UserError if the function returns something else."""
        seed = [self._recipe.seed, step] if step >= 0 else [self._recipe.seed, 0, 4]  # 1 to 3 are in use elsewhere
        result = user_code.call(self._function, step, batch, patch, np.random.default_rng(seed))
        where = f"{self._name}: step {step}:"
        if not (isinstance(result, (tuple, list)) and len(result) == 2):
            raise UserError(f"{where} returned a {type(result).__name__}; expected (lr, hr)")
        parts = []
        for what, value, side in zip(("lr", "hr"), result, (patch, patch * self._recipe.network["scale"]), strict=True):
            part, shape = np.asarray(value), (batch, side, side, 3)
            if part.shape != shape:
                raise UserError(f"{where} {what} has the shape {part.shape}; expected {shape}")
            if part.dtype == np.uint8:
                part = part / np.float32(255)
            elif part.dtype.kind != "f":
                raise UserError(f"{where} {what} has the type {part.dtype}; expected uint8, or float in 0..1")
            elif not (part.min() >= 0 and part.max() <= 1):  # also for NaN
                raise UserError(f"{where} {what} has values from {part.min():g} to {part.max():g}; expected 0..1")
            parts.append(part.astype(np.float32))
        return parts[0], parts[1]


def open_on_all_ranks(recipe: Recipe, folder: str | Path | None, cache: str | Path | None) -> Source:
    """As `open_source`, on every rank of a distributed training, the first rank of each machine first.

    Raises:
        UserError: when the ranks see different images.
    """
    source = distributed.first_process_first(lambda: open_source(recipe, folder, cache))
    if source.sha256 != distributed.broadcast(source.sha256):
        what = folder if folder is not None else "the data function"
        raise UserError(f"{what}: the images of rank {distributed.rank()} differ from rank 0's; give all ranks the same ones")
    return source
