"""Training recipes, one per module: a short function of flat assignments, with a `smoke` variant for tests."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr import models
from mobile_sr.errors import UserError, did_you_mean
from mobile_sr.imaging import degradation
from mobile_sr.inference import weights
from mobile_sr.training import networks, user_code
from mobile_sr.training.hooks import Hooks

_CHOICES: dict[str, tuple[str, ...]] = {
    "branches": ("none", "ecb", "rep", "clb"),
    "loss": ("charbonnier", "l2", "psnr"),
    "optimizer": ("adam", "soap"),
    "select": ("", "rgb", "y", "uint8"),
    "mixing": ("none", "mixup", "cutmix", "colours"),
    "depth_hinge": ("image", "batch"),
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
    "weight_bits": (lambda number: number in (0, 8), "0 or 8"),
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
_CHAINSR = ("s", "sp", "m", "l")  # chainsr.SIZES
# Recipe name -> (module, arguments of its function besides `scale` and `smoke`).
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in ("xlsr", "xlsr_zoo", "xlsr_finetune")},
    **{network: ("xlsr_zoo", {"network": network}) for network in ("fsrcnn", "espcn", "abpn")},
    **{f"chainsr_{size}": ("chainsr", {"size": size}) for size in _CHAINSR},
    **{
        f"chainsr_{size}_{stage}": ("chainsr", {"size": size, "stage": stage})
        for stage in ("long", "spare", "uint8")
        for size in _CHAINSR
    },
    **{f"chainsr_{size}_exits": ("chainsr", {"size": size, "exits": True}) for size in ("m", "l")},  # chainsr.EXITS
    "xlsr_robust": ("robust", {}),
    **{f"chainsr_{size}_robust": ("robust", {"size": size}) for size in _CHAINSR},
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
    "fgnas_plain": ("fgnas_plain", {}),
    "chainsr": ("chainsr", {"size": None}),  # the result of fgnas_plain
}
# As RECIPES, for recipes that combine trained networks, which the user names. They are not part of a sweep.
COMBINING: dict[str, tuple[str, dict[str, Any]]] = {"classsr": ("classsr", {})}
# Recipe -> the recipe whose result it starts from (--init). A sweep trains in this order (docs/guide/distributed.md).
EXPECTED_INIT: dict[str, str] = {
    "xlsr_finetune": "xlsr_zoo",
    **{f"chainsr_{size}_long": f"chainsr_{size if size in ('s', 'sp') else 'sp'}" for size in _CHAINSR},  # sp grows to m and l
    **{f"chainsr_{size}_{stage}": f"chainsr_{size}_long" for stage in ("spare", "uint8") for size in _CHAINSR},
    "xlsr_robust": "xlsr_zoo",
    **{f"chainsr_{size}_robust": f"chainsr_{size}_long" for size in _CHAINSR},
    "adaedsr_b8": "edsr_b8",
    "fadaedsr_b8": "edsr_b8",
    "adaedsr_paper": "edsr_paper",
    "adarcan_paper": "rcan_paper",
    "fgnas": "fgnas_mobile",
    "chainsr": "fgnas_plain",
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
    depth_hinge: str = "image"  # 'image': the hinge limits each image's mean depth; 'batch': that of the whole batch
    depth_price: float = 0.0  # weight of the mean depth itself, which also counts below the desired depth
    exit_weight: float = 1.0  # weight of the loss of each exit but the last, in a network with exits
    fixed_depth: float = 0.0  # mean depth, in blocks, that the hinge loss allows a network without a desired depth
    warmup_fraction: float = 0.01  # share of the steps in which the learning rate rises from start to peak
    ema_decay: float = 0.0  # decay of an exponential moving average of the weights; 0 is off
    validate_every: int = 100
    validation_images: int = 8
    validation_crop: int = 96
    seed: int = 0
    branches: str = "none"  # train-time branches of the convolutions: 'none' or one of train_time.branches.KINDS
    loss: str = "charbonnier"  # or 'l2' or 'psnr', see losses.py
    psnr_eps: float = 0.01  # of loss 'psnr': RMS error, in 0..1, below which a patch counts less
    luminance_weight: float = 0.0  # weight of the same loss on Y, the channel that benchmark sets are scored in
    frequency_weight: float = 0.0  # weight of losses.frequencies
    contrastive_weight: float = 0.0  # weight of losses.contrastive
    teacher: str = ""  # zoo name, model file or run folder of a network to distill
    teacher_weight: float = 1.0  # weight of the loss against the teacher's output, or that of the last exit
    mixing: str = "none"  # 'mixup', 'cutmix' or 'colours', see dataset.mix_batch
    optimizer: str = "adam"  # or 'soap', see soap.py
    activation_bits: int = 0  # bits of rounded activations, see models/train_time/fake_quantization.py; 0 is off
    weight_bits: int = 0  # 8: compute with weights rounded to 8 bits, see models/train_time/rounded_weights.py
    spare_channels: int = 0  # channels that ChainSR leaves unused, see models/train_time/spare_channels.py
    flat_share: float = 0.0  # probability of a flat colour or a ramp instead of a crop, see flat_colours.patch
    select: str = ""  # score that selects best.npz: 'rgb', 'y' or 'uint8'; '' follows the loss, see selection.py
    downscale_factors: tuple[float, ...] = ()  # factors below 1; each adds a downscaled copy of every training image
    degrade: str = ""  # degradation of the LR images, such as 'jpeg=60..95,noise=0..5', see imaging/degradation.py
    train_only: str = ""  # trains only layers whose names begin with one of these texts: 'adapter', 'block,tail'; '' is all
    hooks: Hooks = dataclasses.field(default_factory=Hooks)  # functions of your own, see docs/guide/own_recipe.md

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able dict that `from_json` reads. It names the hooks if there are any."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "hooks"}
        hooks = self.hooks.to_json()
        return {**fields, **{key: list(fields[key]) for key in _TUPLES}, **({"hooks": hooks} if hooks else {})}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Recipe:
        """Rebuild a recipe from the `to_json` of this or an earlier version, without its hooks.

        Raises:
            TypeError: for unknown or missing fields.
        """
        fields: dict[str, Any] = {key: tuple(part) if key in _TUPLES else part for key, part in with_new_names(value).items()}
        fields.pop("hooks", None)
        return cls(**fields)


# Field -> its default, which also gives its type. `steps` has no default; every recipe sets it.
_DEFAULTS: dict[str, Any] = {"steps": 0} | {
    field.name: field.default for field in dataclasses.fields(Recipe) if field.default is not dataclasses.MISSING
}


def override(recipe: Recipe, settings: Sequence[str]) -> None:
    """Set fields of a recipe in place, or arguments of its network.

    Args:
        recipe: the recipe to change.
        settings: texts KEY=VALUE, such as 'patch=48', 'brightness_factors=1,0.7', 'downscale_factors=' or
            'network.channels=24'.

    Raises:
        UserError: for a text of another form, an unknown field, a field set twice or an invalid value.
    """
    fields = sorted({field.name for field in dataclasses.fields(Recipe)} - {"name", "network", "hooks"})
    keys = [RENAMED.get(key, key) for key in (setting.partition("=")[0] for setting in settings)]
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = RENAMED.get(key, key)
        if keys.count(key) > 1:
            raise UserError(f"--set {setting}: {key} is set more than once; give it one value")
        if key.startswith(networks.PREFIX):
            networks.set_argument(recipe.network, setting)
            continue
        if not equals or key not in fields:
            hint = did_you_mean(key, fields) if key not in fields else ""
            known = f"{', '.join(fields)} or {networks.PREFIX}ARGUMENT"
            raise UserError(f"--set {setting}: expected KEY=VALUE with KEY one of {known}{hint}")
        if key == "degrade":
            recipe.degrade = degradation.normalized(text)
            continue
        value: Any
        try:
            value = _parsed(text, type(getattr(recipe, key)), key)
        except ValueError:
            value = math.nan
        problem = _problem(key, value)
        if problem:
            raise UserError(f"--set {setting}: {problem}")
        setattr(recipe, key, value)


def _parsed(text: str, kind: type, key: str) -> Any:
    """The value of a field from a text. Raises ValueError for a text that is not of its kind."""
    if kind is not tuple:
        return kind(text)
    return tuple(float(part) for part in (text.split(",") if text or key == "brightness_factors" else ()))


def _problem(key: str, value: Any) -> str | None:
    """What is wrong with the value of a field, or None."""
    kind = type(_DEFAULTS[key])
    if kind is str:
        if key == "degrade" and isinstance(value, str):
            try:
                degradation.parse(value)
            except UserError as error:
                return str(error)
        choices = _CHOICES.get(key, (value,))
        if isinstance(value, str) and value in choices:
            return None
        return (
            f"{key} must be one of {', '.join(choices)}{did_you_mean(value, choices)}"
            if key in _CHOICES
            else f"{key} must be a text"
        )
    fits, limits = _LIMITS.get(key, (lambda number: number >= 0, "of at least 0"))
    values = value if kind is tuple and isinstance(value, (tuple, list)) else [value]
    types = (int,) if kind is int else (int, float)
    valid = all(type(number) in types and math.isfinite(number) and fits(number) for number in values)
    if valid and (kind is not tuple or (isinstance(value, (tuple, list)) and (value or key != "brightness_factors"))):
        return None
    expected = {int: "a whole number", float: "a number", tuple: "comma-separated numbers"}[kind]
    return f"{key} must be {expected} {limits}"


def check(recipe: Recipe, name: str) -> None:
    """Check the fields of a recipe from outside of this package, which may have any values.

    Args:
        recipe: the recipe.
        name: of its function, for the message.

    Raises:
        UserError: for a field with an invalid value.
    """
    for key in _DEFAULTS:
        value = getattr(recipe, key)
        problem = _problem(key, value)
        if problem:
            raise UserError(f"{name}: {key} is {value!r}; {problem.removeprefix(key + ' ')}")
        if key in _TUPLES:
            setattr(recipe, key, tuple(value))
    recipe.degrade = degradation.normalized(recipe.degrade)
    scale = recipe.network.get("scale") if isinstance(recipe.network, dict) else None
    if type(scale) is not int or not 1 <= scale <= weights.MAX_SCALE or "network" not in recipe.network:
        example = '{"network": "espcn", "scale": 3}'
        raise UserError(
            f"{name}: network is {recipe.network!r}; expected a dict with a network and a scale from 1 to {weights.MAX_SCALE}, "
            f"such as {example}"
        )
    if not isinstance(recipe.hooks, Hooks):
        raise UserError(f"{name}: hooks is a {type(recipe.hooks).__name__}; set hooks.loss, hooks.metric and so on")
    recipe.hooks.check(name)


def with_defaults(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `to_json` of an earlier version's recipe with today's field names and defaults for newer fields."""
    added = {key: list(part) if key in _TUPLES else part for key, part in _DEFAULTS.items() if key != "steps"}
    return {**added, **with_new_names(value)}


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
    if not match:  # a recipe from outside
        return None
    recipe, linear, scale = match.groups()
    return f"{EXPECTED_INIT[recipe]}{linear or ''}_x{scale}" if recipe in EXPECTED_INIT else None


def stages(name: str) -> list[str]:
    """Return the names of the recipes to train one after another for the one called `name`, which is the last."""
    start = expected_init(name)
    return [*(stages(start) if start else []), name]


def has_scale(name: str) -> bool:
    """Return whether a recipe's name ends in a scale, or names a function that sets the scale itself."""
    return user_code.is_reference(name) or re.search(r"_x[234]$", name) is not None


def needs_keras(name: object, net: object, settings: Sequence[str]) -> bool:
    """Return whether the arguments of `load` and `override` run code that may import Keras.

    The backend must be chosen before that.
    """
    named = isinstance(name, (str, Recipe)) and not user_code.is_reference(name) and net is None
    return not named or any(setting.startswith(networks.PREFIX) for setting in settings)


def load(
    name: str | Recipe | Callable[..., Recipe],
    smoke: bool = False,
    steps: int | None = None,
    seed: int | None = None,
    net: str | Callable[..., Any] | None = None,
) -> Recipe:
    """Load a recipe.

    Args:
        name: recipe and scale, such as 'xlsr_x3' (module xlsr, scale 3). 'xlsr_linear_x3' is the same recipe for the
            network without its clipped output. 'FILE.py:FUNCTION' is the recipe that a function of the user returns; see
            `of_function`. Also such a function, or a Recipe object.
        smoke: shrink the recipe to a few steps.
        steps: number of training steps; None keeps the recipe's.
        seed: random seed; None keeps the recipe's.
        net: another network for the recipe: the name of one, 'FILE.py:FUNCTION' or a function (networks.resolve).

    Raises:
        UserError: for an unknown recipe, an invalid number of steps or seed, or a function that fails.
    """
    if isinstance(name, str) and not user_code.is_reference(name):
        recipe = _named(name, smoke)
    elif isinstance(name, Recipe):
        if smoke:
            raise UserError("--smoke: a Recipe object is used as it is; shrink it yourself")
        recipe = dataclasses.replace(name, network=name.network)
        check(recipe, f"recipe {name.name}")
        recipe.network = dict(recipe.network)
    else:
        recipe = of_function(name, smoke)
    if net is not None:
        known = callable(net) or user_code.is_reference(net) or net in models.NETWORKS
        if not known:
            raise UserError(f"--net {net}: expected FILE.py:FUNCTION or a network{did_you_mean(net, models.NETWORKS)}")
        recipe.network = {"network": net, "scale": recipe.network["scale"]}
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


def _named(name: str, smoke: bool) -> Recipe:
    """A recipe of this package by its name."""
    match = _NAME.fullmatch(name)
    known = {**RECIPES, **COMBINING}
    if not match or match[1] not in known:
        names = ", ".join(f"{r}_x3" for r in known)
        also = "also with x2 and x4, and with a linear output as in xlsr_linear_x3"
        hint = did_you_mean(name, [f"{r}_x{scale}" for r in known for scale in (2, 3, 4)])
        raise UserError(f"unknown recipe '{name}'; known: {names}, {also}{hint}")
    module, arguments = known[match[1]]
    make_recipe = importlib.import_module(f"mobile_sr.training.recipes.{module}").recipe
    recipe: Recipe = make_recipe(scale=int(match[3]), smoke=smoke, **arguments)
    if match[2]:
        recipe.network["output_activation"] = "linear"
    recipe.name = name
    return recipe


def of_function(reference: str | Callable[..., Recipe], smoke: bool = False) -> Recipe:
    """Return the recipe that a function of the user makes.

    The function has no arguments, or any of `scale` and `smoke`. Its scale is at the end of the reference: 'my.py:small_x3'
    calls small(scale=3), unless the file has a function small_x3.

    Args:
        reference: 'FILE.py:FUNCTION', or the function itself.
        smoke: shrink the recipe to a few steps.

    Raises:
        UserError: when there is no such function, or when it fails or returns something else than a valid Recipe.
    """
    scale = None
    if isinstance(reference, str):
        match = re.fullmatch(r"(.+)_x(\d+)", reference)
        try:
            function = user_code.load(reference, "--recipe")
        except UserError:
            if not match:
                raise
            function, scale = user_code.load(match[1], "--recipe"), int(match[2])
    else:
        function = reference
    name = user_code.name_of(function)
    parameters = inspect.signature(function).parameters
    arguments = {"scale": scale} if scale is not None else {}
    arguments |= {"smoke": True} if smoke else {}
    unknown = arguments.keys() - user_code.accepted(function, **arguments).keys()
    if unknown:
        why = f"the scale {scale}" if "scale" in unknown else "--smoke"
        raise UserError(f"{name} has no argument {min(unknown)}, which {why} needs")
    missing = [p.name for p in parameters.values() if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    if "scale" in missing and scale is None:
        raise UserError(f"{name} needs a scale; add it to the name, as in {name}_x3")
    recipe = user_code.call(function, **arguments)
    if not isinstance(recipe, Recipe):
        raise UserError(f"{name} returned a {type(recipe).__name__}; expected a mobile_sr.training.recipes.Recipe")
    check(recipe, name)
    file = user_code.file_of(function)
    recipe.network = networks.relative_to(recipe.network, Path(file).parent if file else Path())
    return recipe
