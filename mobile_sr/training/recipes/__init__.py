"""Training recipes, one per module: a short function of flat assignments, with a `smoke` variant for tests."""

from __future__ import annotations

import dataclasses
import importlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mobile_sr import models
from mobile_sr.errors import UserError, did_you_mean

_CHOICES: dict[str, tuple[str, ...]] = {
    "branches": ("none", "ecb", "rep"),
    "loss": ("charbonnier", "l2", "psnr"),
    "optimizer": ("adam", "soap"),
    "select": ("", "rgb", "y", "uint8"),
    "mixing": ("none", "mixup", "cutmix", "colours"),
}
_TUPLES = ("brightness_factors", "downscale_factors")
# Field names of earlier versions. They occur in config.json files, and --set still accepts them.
RENAMED: dict[str, str] = {
    "intensities": "brightness_factors",
    "smaller_copies": "downscale_factors",
    "weight_average": "ema_decay",
    "rate_start": "start_learning_rate",
    "rate_peak": "peak_learning_rate",
    "rate_end": "end_learning_rate",
    "rise": "warmup_fraction",
}
_COUNTS = ("steps", "batch", "patch", "validate_every", "validation_images", "validation_crop")
# Valid numbers of a field, as (test, words for the error message). Other fields accept every number from 0.
_LIMITS: dict[str, tuple[Callable[[float], bool], str]] = {
    **{count: (lambda number: number >= 1, "of at least 1") for count in _COUNTS},
    "activation_bits": (lambda number: number == 0 or 2 <= number <= 16, "from 2 to 16, or 0"),
    "flat_share": (lambda number: 0 <= number < 1, "of at least 0 and below 1"),
    "downscale_factors": (lambda number: 0 < number < 1, "above 0 and below 1"),
    "charbonnier_eps": (lambda number: number > 0, "above 0"),  # at 0 the gradient is undefined where the error is 0
    "psnr_eps": (lambda number: number > 0, "above 0"),  # at 0 a flat patch reproduced exactly has the loss -inf
    "warmup_fraction": (lambda number: 0 <= number <= 1, "of at least 0 and at most 1"),
    "ema_decay": (lambda number: 0 <= number < 1, "of at least 0 and below 1"),  # at 1 the average never changes
    "validation_crop": (lambda number: number >= 3, "of at least 3"),  # PSNR shaves a border of 1 LR pixel
    "seed": (lambda number: 0 <= number < 2**32, "from 0 to 4294967295"),  # the range of Keras seeds
}
_NAME = re.compile(r"(\w+?)(_linear)?_x([234])")  # name on the command line: recipe, output, scale
# Recipe name -> (module, arguments of its function besides `scale` and `smoke`).
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in ("xlsr", "xlsr_zoo", "xlsr_finetune")},
    **{network: ("xlsr_zoo", {"network": network}) for network in ("fsrcnn", "espcn", "abpn")},
    **{f"edsr_b{blocks}": ("edsr", {"blocks": blocks}) for blocks in (2, 4, 6, 8)},
    "adaedsr_b8": ("adaedsr", {"blocks": 8}),
    "fadaedsr_b8": ("adaedsr", {"blocks": 8, "fixed_depth": 4}),
    "edsr_paper": ("adadsr_paper", {"network": "edsr"}),
    "adaedsr_paper": ("adadsr_paper", {"network": "edsr", "depth": "input"}),
    "rcan_paper": ("adadsr_paper", {"network": "rcan"}),
    "adarcan_paper": ("adadsr_paper", {"network": "rcan", "depth": "input"}),
    **{network: ("efficient", {"network": network}) for network in (*models.NTIRE_2022, "srcnn", "vdsr")},
    "fgnas": ("fgnas", {}),
    "fgnas_mobile": ("fgnas_search", {}),
    **{
        f"fgnas_{size}": ("fgnas_search", {"blocks": n, "channels": 64, "paper": True})
        for size, n in (("s", 16), ("m", 32), ("l", 64))
    },
}
# Recipe -> the recipe whose result it starts from (--init). A sweep trains these second (docs/guide/distributed.md).
EXPECTED_INIT: dict[str, str] = {
    "xlsr_finetune": "xlsr_zoo",
    "adaedsr_b8": "edsr_b8",
    "fadaedsr_b8": "edsr_b8",
    "adaedsr_paper": "edsr_paper",
    "adarcan_paper": "rcan_paper",
    "fgnas": "fgnas_mobile",
}


@dataclasses.dataclass
class Recipe:
    """All settings of a training run.

    Sizes are in LR pixels. `brightness_factors` multiply images in 0..1.
    """

    name: str
    network: dict[str, Any]  # configuration for mobile_sr.models.build
    steps: int
    batch: int = 16
    patch: int = 32
    charbonnier_eps: float = 0.1
    brightness_factors: tuple[float, ...] = (1.0, 0.7, 0.5)
    start_learning_rate: float = 5e-5
    peak_learning_rate: float = 25e-4
    end_learning_rate: float = 1e-4
    depth_weight: float = 0.0  # weight of AdaDSR's hinge loss on the mean depth
    fixed_depth: float = 0.0  # mean depth, in blocks, that the hinge loss allows a network without a desired depth
    warmup_fraction: float = 0.01  # share of the steps in which the learning rate rises from start to peak
    ema_decay: float = 0.0  # decay of an exponential moving average of the weights; 0 is off
    validate_every: int = 100
    validation_images: int = 8
    validation_crop: int = 96
    seed: int = 0
    branches: str = "none"  # train-time branches of the 3x3 convolutions: 'none', 'ecb' or 'rep', see train_time/branches.py
    loss: str = "charbonnier"  # or 'l2' or 'psnr', see losses.py
    psnr_eps: float = 0.01  # of loss 'psnr': RMS error, in 0..1, below which a patch counts less
    luminance_weight: float = 0.0  # weight of the same loss on Y, the channel that benchmark sets are scored in
    frequency_weight: float = 0.0  # weight of losses.frequencies
    contrastive_weight: float = 0.0  # weight of losses.contrastive
    teacher: str = ""  # zoo name, model file or run folder of a network to distill
    teacher_weight: float = 1.0  # weight of the loss against the teacher's output
    mixing: str = "none"  # 'mixup', 'cutmix' or 'colours', see dataset.mix_batch
    optimizer: str = "adam"  # or 'soap', see soap.py
    activation_bits: int = 0  # bits of rounded activations, see models/train_time/fake_quantization.py; 0 is off
    flat_share: float = 0.0  # probability of a flat colour or a ramp instead of a crop, see flat_colours.patch
    select: str = ""  # score that selects best.npz: 'rgb', 'y' or 'uint8'; '' follows the loss, see selection.py
    downscale_factors: tuple[float, ...] = ()  # factors below 1; each adds a downscaled copy of every training image

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able dict that `from_json` reads."""
        return {**dataclasses.asdict(self), **{key: list(getattr(self, key)) for key in _TUPLES}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Recipe:
        """Rebuild a recipe from the `to_json` of this or an earlier version.

        Raises:
            TypeError: for unknown or missing fields.
        """
        fields: dict[str, Any] = {key: tuple(part) if key in _TUPLES else part for key, part in with_new_names(value).items()}
        return cls(**fields)


def override(recipe: Recipe, settings: Sequence[str]) -> None:
    """Set fields of a recipe in place.

    Args:
        recipe: the recipe to change.
        settings: texts KEY=VALUE, such as 'patch=48', 'brightness_factors=1,0.7' or 'downscale_factors='.

    Raises:
        UserError: for a text of another form, an unknown field, a field set twice or an invalid value.
    """
    fields = sorted({field.name for field in dataclasses.fields(Recipe)} - {"name", "network"})
    keys = [RENAMED.get(key, key) for key in (setting.partition("=")[0] for setting in settings)]
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = RENAMED.get(key, key)
        if not equals or key not in fields:
            hint = did_you_mean(key, fields) if key not in fields else ""
            raise UserError(f"--set {setting}: expected KEY=VALUE with KEY one of {', '.join(fields)}{hint}")
        if keys.count(key) > 1:
            raise UserError(f"--set {setting}: {key} is set more than once; give it one value")
        kind = type(getattr(recipe, key))
        fits, limits = _LIMITS.get(key, (lambda number: number >= 0, "of at least 0"))
        values: list[Any]
        try:
            parts = text.split(",") if text or key == "brightness_factors" else []
            values = [float(part) for part in parts] if kind is tuple else [kind(text)]
        except ValueError:
            values = [math.nan]
        if kind is not str and not all(math.isfinite(number) and fits(number) for number in values):
            expected = {int: "a whole number", float: "a number", tuple: "comma-separated numbers"}[kind]
            raise UserError(f"--set {setting}: {key} must be {expected} {limits}")
        value = tuple(values) if kind is tuple else values[0]
        if value not in _CHOICES.get(key, (value,)):
            raise UserError(
                f"--set {setting}: {key} must be one of {', '.join(_CHOICES[key])}{did_you_mean(value, _CHOICES[key])}"
            )
        setattr(recipe, key, value)


def with_defaults(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `to_json` of an earlier version's recipe with today's field names and defaults for newer fields."""
    added = {field.name: field.default for field in dataclasses.fields(Recipe) if field.default is not dataclasses.MISSING}
    return {**{key: list(part) if key in _TUPLES else part for key, part in added.items()}, **with_new_names(value)}


def with_new_names(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's dict with field names of earlier versions replaced by today's."""
    return {RENAMED.get(key, key): part for key, part in value.items()}


def triangular_rate(step: Any, recipe: Recipe, ops: Any = np) -> Any:
    """Return the learning rate at a step: linear from start to peak, then linear down to end (one triangular cycle).

    Args:
        step: number of the step, from 0; a number or a tensor.
        recipe: the recipe with the rates.
        ops: numpy, or keras.ops if `step` is a tensor.

    Returns:
        The rate as a 0-d array of numpy, or a tensor.
    """
    start, peak, end = recipe.start_learning_rate, recipe.peak_learning_rate, recipe.end_learning_rate
    warmup = max(1.0, recipe.warmup_fraction * recipe.steps)
    up = start + (peak - start) * step / warmup
    down = peak + (end - peak) * ops.minimum(1.0, (step - warmup) / max(1.0, recipe.steps - warmup))
    return ops.where(step < warmup, up, down)


def expected_init(name: str) -> str | None:
    """Return the name of the recipe whose result the recipe called `name` starts from, or None."""
    match = _NAME.fullmatch(name)
    assert match, name  # the caller has loaded the recipe
    recipe, linear, scale = match.groups()
    return f"{EXPECTED_INIT[recipe]}{linear or ''}_x{scale}" if recipe in EXPECTED_INIT else None


def has_scale(name: str) -> bool:
    """Return whether a recipe's name ends in a scale."""
    return re.search(r"_x[234]$", name) is not None


def load(name: str, smoke: bool = False, steps: int | None = None, seed: int | None = None) -> Recipe:
    """Load a recipe by name.

    Args:
        name: recipe and scale, such as 'xlsr_x3' (module xlsr, scale 3). 'xlsr_linear_x3' is the same recipe for the
            network without its clipped output.
        smoke: shrink the recipe to a few steps.
        steps: number of training steps; None keeps the recipe's.
        seed: random seed; None keeps the recipe's.

    Raises:
        UserError: for an unknown recipe, or an invalid number of steps or seed.
    """
    match = _NAME.fullmatch(name)
    if not match or match[1] not in RECIPES:
        known = ", ".join(f"{r}_x3" for r in RECIPES)
        also = "also with x2 and x4, and with a linear output as in xlsr_linear_x3"
        hint = did_you_mean(name, [f"{r}_x{scale}" for r in RECIPES for scale in (2, 3, 4)])
        raise UserError(f"unknown recipe '{name}'; known: {known}, {also}{hint}")
    module, arguments = RECIPES[match[1]]
    make_recipe = importlib.import_module(f"mobile_sr.training.recipes.{module}").recipe
    recipe: Recipe = make_recipe(scale=int(match[3]), smoke=smoke, **arguments)
    if match[2]:
        recipe.network["output_activation"] = "linear"
    recipe.name = name
    if steps is not None:
        if steps < 1:
            raise UserError(f"--steps {steps}: must be at least 1")
        recipe.steps = steps
    if seed is not None:
        fits, limits = _LIMITS["seed"]
        if not fits(seed):
            raise UserError(f"--seed {seed}: must be {limits}")
        recipe.seed = seed
    return recipe
