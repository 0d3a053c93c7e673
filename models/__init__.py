"""The networks, and functions that build and describe them by name.

A configuration is a flat dict: {"network": name, "scale": s, **arguments of the network's build()}.
Importing this package does not load Keras; building a network does.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)  # of RGB in 0..1; EDSR and others subtract it
NTIRE_2022 = ("imdn", "rfdn", "rlfn", "fmen", "efdn", "bsrn", "arfdn", "imdn_plus", "pruned_rfdn", "mobilesr")
PEERS = ("srcnn", "vdsr", "abpn")
CLASSIC = ("carn", "wdsr", "rdn", "srresnet", "msrresnet", "smsr", "san")  # peers of the papers, for import-weights and export
COMPACT = ("compact", "span", "imdn_rtc", "bicubic_plus_plus", "pan")  # small networks of others, for import-weights and export
ORIGINAL = ("imdn_cca",)  # published before the challenge
# Further teams of the challenge, for import-weights, export and training with --net.
DISTILLATION = ("repafdn", "dilated_rfdn", "faster_rfdn", "afdn", "fden", "msdn", "sfdn", "cl_rfdn", "bmdn", "esa_rfdn")
SEPARABLE = ("m_rfdn", "rfdnext", "depthwise_rfdn", "nas_rfdn")
ATTENTION = ("scet", "prrn", "aaln", "lwfanet", "rlcsr", "imdeception", "mdan", "nlffc", "vlesr")
TRANSFORMER = ("imdtn", "hnct", "restormer")
TEAMS = (*DISTILLATION, *SEPARABLE, *ATTENTION, *TRANSFORMER, "esan", "resdn", "efdn_nku", "rfesr", "nasnet_bn", "mdgn")
MOBILE = ("etds", "ecbsr", "quicksrnet", "sesr")  # networks of others for phones, for import-weights and export
BLOCK_SUPERNET, PLAIN_SUPERNET = SUPERNETS = ("fgnas_supernet", "fgnas_plain_supernet")  # what a search trains
_OWN = ("xlsr", "chainsr", "fsrcnn", "espcn", "edsr", "rcan", "fgnas", *SUPERNETS)
NETWORKS = (*_OWN, *PEERS, *CLASSIC, *MOBILE, *COMPACT, *NTIRE_2022, *TEAMS, *ORIGINAL)
CLASSSR = "classsr"  # networks and a classifier in joint training, see models/train_time/classsr.py
_FOLDERS = {
    "classic": ("srcnn", "vdsr", "fsrcnn", "espcn", "edsr", "rcan", *CLASSIC),
    "mobile": ("abpn", *MOBILE, *COMPACT),
    "ntire2022.distillation": ("rfdn", "efdn", "arfdn", "pruned_rfdn", *DISTILLATION),
    "ntire2022.separable": ("bsrn", *SEPARABLE),
    "ntire2022.attention": (*ATTENTION, *ORIGINAL),
    "ntire2022.transformer": TRANSFORMER,
    "ntire2022": (*NTIRE_2022, *TEAMS),
    "nas": ("fgnas", *SUPERNETS),
    "train_time": (CLASSSR,),
}
CUSTOM = "custom"  # a network from outside, see models/custom.py; its configuration contains its graph


def _module(name: str) -> ModuleType:
    if name not in (*NETWORKS, CLASSSR, CUSTOM):
        close = difflib.get_close_matches(str(name), NETWORKS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"unknown network {name!r}; known: {', '.join(NETWORKS)}{hint}")
    folder = next((f"{folder}." for folder, names in _FOLDERS.items() if name in names), "")
    return importlib.import_module(f"mobile_sr.models.{folder}{name}")


def build(config: Mapping[str, Any], **overrides: Any) -> keras.Model:
    """Builds the Keras model of a configuration.

    Args:
        config: the configuration.
        overrides: arguments of the network's build() that replace those of the configuration.
    Raises: ValueError for an unknown network or an invalid value, TypeError for an unknown argument.
    """
    arguments = {**config, **overrides}
    return _module(arguments.pop("network")).build(**arguments)


def defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns {name: default} for the arguments of the network's build()."""
    parameters = inspect.signature(_module(config["network"]).build).parameters
    return {name: parameter.default for name, parameter in parameters.items()}


def complete(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the configuration with the defaults of the network's build() filled in."""
    return {**defaults(config), **config}


def build_for_export(config: Mapping[str, Any], **overrides: Any) -> keras.Model:
    """Builds the model like `build`, but in the form that converts best: grouped convolutions are single operators."""
    if has_groups(config):
        overrides["grouped_form"] = "grouped"
    return build(config, **overrides)


def has_groups(config: Mapping[str, Any]) -> bool:
    """Whether the network has grouped convolutions."""
    if config["network"] == CUSTOM:
        return _module(CUSTOM).has_groups(config)
    return "grouped_form" in complete(config)


def receptive_field(config: Mapping[str, Any]) -> int | None:
    """LR pixels to each side that an output pixel depends on, or None if the network sees the whole image."""
    module = _module(config["network"])
    if hasattr(module, "receptive_field"):
        field: int | None = module.receptive_field(complete(config))
        return field
    return getattr(module, "RECEPTIVE_FIELD", None)


def smallest_side(config: Mapping[str, Any]) -> int:
    """Minimum height and width of an input image, in LR pixels."""
    module = _module(config["network"])
    return module.smallest_side(complete(config)) if hasattr(module, "smallest_side") else getattr(module, "SMALLEST_SIDE", 1)


def not_convertible(config: Mapping[str, Any]) -> str:
    """Why the network cannot become a .tflite file; '' if it can."""
    return getattr(_module(config["network"]), "NOT_CONVERTIBLE", "")


def has_depth(config: Mapping[str, Any]) -> bool:
    """Whether the network has AdaDSR's adapter and therefore a depth map as its second output."""
    return config.get("depth", "none") != "none"


def max_depth(config: Mapping[str, Any]) -> int | None:
    """Largest desired depth that the network accepts as its second input, in blocks; None if it has no such input."""
    return complete(config)["blocks"] if config.get("depth") == "input" else None


def exits(config: Mapping[str, Any]) -> tuple[int, ...]:
    """The numbers of layers after which a network with exits has one, the last included; () for a network without exits."""
    return (*config["exits"], complete(config)["layers"]) if config.get("exits") else ()


def split_exits(model: keras.Model, config: Mapping[str, Any]) -> list[tuple[keras.Model, dict[str, Any]]]:
    """Returns the exits of a network as networks of their own, (model, configuration), the one with the fewest layers first."""
    parts: list[tuple[keras.Model, dict[str, Any]]] = _module(config["network"]).split_exits(model, complete(config))
    return parts


def challenge_counts(config: Mapping[str, Any], height: int = 256, width: int = 256) -> dict[str, int]:
    """`counts.counts` of a configuration's network, without the layers that the challenge's script misses."""
    from mobile_sr.models import counts

    return counts.counts(build(config), height, width, getattr(_module(config["network"]), "SCRIPT_SKIPS", ()))


def multiply_adds(model: keras.Model, lr_pixels: float) -> float:
    """Multiply-adds of a network for an LR input of `lr_pixels` pixels; see `counts.multiply_adds`."""
    from mobile_sr.models import counts

    return counts.multiply_adds(model, lr_pixels)
