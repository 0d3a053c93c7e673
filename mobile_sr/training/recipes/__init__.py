"""Training recipes: one short function per file, flat assignments, a `smoke` shrinking of the same recipe."""

import dataclasses
import importlib
import math
import re

import numpy as np

from mobile_sr import models
from mobile_sr.errors import UserError, did_you_mean

_CHOICES = {
    "branches": ("none", "ecb", "rep"),
    "loss": ("charbonnier", "l2", "psnr"),
    "optimizer": ("adam", "soap"),
    "select": ("", "rgb", "y", "uint8"),
    "mixing": ("none", "mixup", "cutmix", "colours"),
}
_TUPLES = ("brightness_factors", "downscale_factors")
# Names that fields had in earlier versions: in config.json files, and still accepted by --set.
RENAMED = {
    "intensities": "brightness_factors",
    "smaller_copies": "downscale_factors",
    "weight_average": "ema_decay",
    "rate_start": "start_learning_rate",
    "rate_peak": "peak_learning_rate",
    "rate_end": "end_learning_rate",
    "rise": "warmup_fraction",
}
_COUNTS = ("steps", "batch", "patch", "validate_every", "validation_images", "validation_crop")
# What numbers a field takes; the others any from 0 on.
_LIMITS = {
    **{count: (lambda number: number >= 1, "of at least 1") for count in _COUNTS},
    "activation_bits": (lambda number: number == 0 or 2 <= number <= 16, "from 2 to 16, or 0"),
    "flat_share": (lambda number: 0 <= number < 1, "of at least 0 and below 1"),
    "downscale_factors": (lambda number: 0 < number < 1, "above 0 and below 1"),
    "charbonnier_eps": (lambda number: number > 0, "above 0"),  # at 0 the loss has no slope where nothing is wrong
    "psnr_eps": (lambda number: number > 0, "above 0"),  # a flat patch that is met exactly would have the loss -inf
    "warmup_fraction": (lambda number: 0 <= number <= 1, "of at least 0 and at most 1"),
    "ema_decay": (lambda number: 0 <= number < 1, "of at least 0 and below 1"),  # at 1 the average would stand still
    "validation_crop": (lambda number: number >= 3, "of at least 3"),  # of which PSNR leaves out a border of 1
    "seed": (lambda number: 0 <= number < 2**32, "from 0 to 4294967295"),  # what Keras takes
}
_NAME = re.compile(r"(\w+?)(_linear)?_x([234])")  # as users write it: recipe, output and scale
# Name of a recipe: its file and what its function gets besides the scale.
RECIPES = {
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
# What a recipe starts from (--init): another one's result. Those of a sweep's second half (docs/guide/distributed.md).
STARTS = {
    "xlsr_finetune": "xlsr_zoo",
    "adaedsr_b8": "edsr_b8",
    "fadaedsr_b8": "edsr_b8",
    "adaedsr_paper": "edsr_paper",
    "adarcan_paper": "rcan_paper",
    "fgnas": "fgnas_mobile",
}


@dataclasses.dataclass
class Recipe:
    """Everything that decides a training run. Sizes are LR pixels; brightness_factors multiply images in 0..1."""

    name: str
    network: dict  # configuration for mobile_sr.models.build
    steps: int
    batch: int = 16
    patch: int = 32
    charbonnier_eps: float = 0.1
    brightness_factors: tuple = (1.0, 0.7, 0.5)
    start_learning_rate: float = 5e-5
    peak_learning_rate: float = 25e-4
    end_learning_rate: float = 1e-4
    depth_weight: float = 0.0  # of AdaDSR's hinge on the mean depth
    fixed_depth: float = 0.0  # the mean depth that the hinge allows a network without a desired depth
    warmup_fraction: float = 0.01  # share of the steps in which the rate climbs from start to peak
    ema_decay: float = 0.0  # decay of an exponential moving average of the weights; 0 is off
    validate_every: int = 100
    validation_images: int = 8
    validation_crop: int = 96
    seed: int = 0
    branches: str = "none"  # what the 3x3 convolutions are trained with: 'none', or one of models.branches.KINDS
    loss: str = "charbonnier"  # or 'l2' or 'psnr', see losses.py
    psnr_eps: float = 0.01  # of loss 'psnr': the RMS error below which a patch counts less, 0..1
    luminance_weight: float = 0.0  # of the same loss of Y, in which the sets are measured
    frequency_weight: float = 0.0  # of losses.frequencies
    contrastive_weight: float = 0.0  # of losses.contrastive
    teacher: str = ""  # a zoo name, model file or run folder; the loss counts its pictures, too
    teacher_weight: float = 1.0
    mixing: str = "none"  # 'mixup', 'cutmix' or 'colours', see data.mixed
    optimizer: str = "adam"  # or 'soap', see soap.py
    activation_bits: int = 0  # activations are rounded to so many bits, see models/train_time/fake_quantization.py; 0 is off
    flat_share: float = 0.0  # probability of a flat colour or a ramp in place of a crop, see flat_colours.patch
    select: str = ""  # what best.npz is chosen by: 'rgb', 'y' or 'uint8'; '' follows the loss, see selection.py
    downscale_factors: tuple = ()  # factors below 1 by which every training image is shrunk and trained on, too

    def to_json(self):
        """A dict that json can write and `from_json` reads back."""
        return {**dataclasses.asdict(self), **{key: list(getattr(self, key)) for key in _TUPLES}}

    @classmethod
    def from_json(cls, value):
        """Rebuild from `to_json`, of this or an earlier version. Raises TypeError on unknown or missing fields."""
        return cls(**{key: tuple(part) if key in _TUPLES else part for key, part in with_new_names(value).items()})


def override(recipe, settings):
    """Set fields of a recipe from texts KEY=VALUE, e.g. 'patch=48', 'brightness_factors=1,0.7' or 'downscale_factors='.

    Raises: UserError for another text, an unknown field or an impossible value.
    """
    fields = sorted({field.name for field in dataclasses.fields(Recipe)} - {"name", "network"})
    keys = [RENAMED.get(key, key) for key in (setting.partition("=")[0] for setting in settings)]
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = RENAMED.get(key, key)
        if not equals or key not in fields:
            hint = did_you_mean(key, fields) if key not in fields else ""
            raise UserError(f"--set {setting}: give KEY=VALUE, KEY one of {', '.join(fields)}{hint}")
        if keys.count(key) > 1:
            raise UserError(f"--set {setting}: {key} is set more than once; give it one value")
        kind = type(getattr(recipe, key))
        fits, limits = _LIMITS.get(key, (lambda number: number >= 0, "of at least 0"))
        try:
            parts = text.split(",") if text or key == "brightness_factors" else []
            values = [float(part) for part in parts] if kind is tuple else [kind(text)]
        except ValueError:
            values = [math.nan]
        if kind is not str and not all(math.isfinite(number) and fits(number) for number in values):
            wanted = {int: "a whole number", float: "a number", tuple: "numbers, commas between,"}[kind]
            raise UserError(f"--set {setting}: {key} must be {wanted} {limits}")
        value = tuple(values) if kind is tuple else values[0]
        if value not in _CHOICES.get(key, (value,)):
            raise UserError(
                f"--set {setting}: {key} must be one of {', '.join(_CHOICES[key])}{did_you_mean(value, _CHOICES[key])}"
            )
        setattr(recipe, key, value)


def with_defaults(value):
    """`to_json` of an earlier version's recipe, with today's names and the fields that were added since."""
    added = {field.name: field.default for field in dataclasses.fields(Recipe) if field.default is not dataclasses.MISSING}
    return {**{key: list(part) if key in _TUPLES else part for key, part in added.items()}, **with_new_names(value)}


def with_new_names(value):
    """A recipe's dict with today's field names for those of RENAMED."""
    return {RENAMED.get(key, key): part for key, part in value.items()}


def triangular_rate(step, recipe, ops=np):
    """The learning rate at a step: linear from start to peak, then linear down to end (one triangular cycle).

    Args: ops: numpy, or keras.ops where the step is a tensor.
    """
    start, peak, end = recipe.start_learning_rate, recipe.peak_learning_rate, recipe.end_learning_rate
    warmup = max(1.0, recipe.warmup_fraction * recipe.steps)
    up = start + (peak - start) * step / warmup
    down = peak + (end - peak) * ops.minimum(1.0, (step - warmup) / max(1.0, recipe.steps - warmup))
    return ops.where(step < warmup, up, down)


def start(name):
    """The recipe whose result the one called `name` is made to start from, None where it is none."""
    recipe, linear, scale = _NAME.fullmatch(name).groups()
    return f"{STARTS[recipe]}{linear or ''}_x{scale}" if recipe in STARTS else None


def has_scale(name):
    """Whether a recipe's name ends in a scale."""
    return re.search(r"_x[234]$", name) is not None


def load(name, smoke=False, steps=None, seed=None):
    """The recipe called e.g. 'xlsr_x3' (file xlsr, scale 3), shrunk when `smoke`, with other steps or seed if given.

    'xlsr_linear_x3' is the same recipe for the network without its clipped output.
    Raises: UserError for an unknown recipe, an impossible number of steps or seed.
    """
    match = _NAME.fullmatch(name)
    if not match or match[1] not in RECIPES:
        known = ", ".join(f"{r}_x3" for r in RECIPES)
        also = "the same for x2 and x4, and for a linear output as in xlsr_linear_x3"
        hint = did_you_mean(name, [f"{r}_x{scale}" for r in RECIPES for scale in (2, 3, 4)])
        raise UserError(f"unknown recipe '{name}'; known: {known}, {also}{hint}")
    file, arguments = RECIPES[match[1]]
    recipe = importlib.import_module(f"mobile_sr.training.recipes.{file}").recipe(scale=int(match[3]), smoke=smoke, **arguments)
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
