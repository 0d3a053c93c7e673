"""The network of a recipe: arguments from --set network.KEY=VALUE, and build() functions in the user's files.

In a recipe, {"network": "net.py:build", "scale": 3, "channels": 24} is the network that build(scale=3, channels=24) returns.
`resolve` calls it once, when the training starts, and stores the result as Keras's description of its layers
(models/custom.py). Nothing that reads the run folder needs the file again.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_sr import models
from mobile_sr.errors import UserError, did_you_mean
from mobile_sr.inference import limits
from mobile_sr.training import user_code

if TYPE_CHECKING:
    import keras

PREFIX = "network."
_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
}


def is_outside(network: Mapping[str, Any]) -> bool:
    """Return whether a recipe's network is a build() function of the user, not yet resolved."""
    name = network.get("network")
    return callable(name) or user_code.is_reference(name)


def set_argument(network: dict[str, Any], setting: str) -> None:
    """Set an argument of a network in place.

    The value gets the type of the argument's default; lists are separated by commas, as in 'network.ratios=2,4'.

    Args:
        network: the configuration of the network.
        setting: 'network.KEY=VALUE'.

    Raises:
        UserError: for an unknown argument, or a value of another type.
    """
    key, equals, text = setting.removeprefix(PREFIX).partition("=")
    where = f"--set {setting}"
    if key in ("network", "scale"):
        instead = "--net" if key == "network" else "the scale at the end of --recipe"
        raise UserError(f"{where}: use {instead}")
    known, any_name = _arguments(network, where)
    if not equals or (key not in known and not any_name):
        names = ", ".join(f"{PREFIX}{name}" for name in known) or "none"
        raise UserError(f"{where}: expected {PREFIX}KEY=VALUE; this network has {names}{did_you_mean(key, known)}")
    default = known.get(key)
    if default is None or default is inspect.Parameter.empty:
        default = network.get(key)
    value = _value(where, text, default)
    try:
        limits.check_config({key: value}, known)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
    network[key] = value


def _arguments(network: Mapping[str, Any], where: str) -> tuple[dict[str, Any], bool]:
    """({name: default} of build() without the scale, whether it accepts any name)."""
    if is_outside(network):
        parameters = inspect.signature(_function(network["network"])).parameters.values()
        any_name = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        known = {p.name: p.default for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    else:
        any_name = False
        try:
            known = models.defaults(network)
        except ValueError as error:
            raise UserError(f"{where}: {error}") from None
    return {name: default for name, default in known.items() if name != "scale"}, any_name


def _value(where: str, text: str, default: Any) -> Any:
    """A text as a value of the type of `default`, or as a number if possible where the default is None."""
    if isinstance(default, (list, tuple)):
        first = default[0] if default else None
        return [_value(where, part, first) for part in text.split(",")] if text else []
    if default is None or default is inspect.Parameter.empty:
        if text.lower() in ("", "none"):
            return None
        kinds: tuple[type, ...] = (int, float, str)
    elif type(default) in _KINDS:
        kinds = (type(default),)
    else:
        raise UserError(f"{where}: an argument of this type can be set in a recipe only")
    for kind in kinds:
        try:
            return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
        except (ValueError, KeyError):
            continue
    raise UserError(f"{where}: expected {_KINDS[kinds[-1]]}, as the default {default!r}")


def _function(build: str | Callable[..., Any]) -> Callable[..., Any]:
    """The build() function of a configuration."""
    return user_code.load(build, "--net") if isinstance(build, str) else build


def resolve(network: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration for `models.build`.

    The network of a build() function becomes a custom network, whose `source` has the function, the SHA-256 of its file and
    its arguments. Other configurations are returned as they are.

    Raises:
        UserError: when build() fails, or returns something else than a network from [N, H, W, 3] to [N, H * s, W * s, 3] that
            can be stored without its code.
    """
    if not is_outside(network):
        return network
    arguments = dict(network)
    function = _function(arguments.pop("network"))
    name, scale = user_code.name_of(function), arguments["scale"]
    model = user_code.call(function, **arguments)
    module = inspect.getmodule(function)
    config = {**arguments, "network": name}
    field = getattr(module, "RECEPTIVE_FIELD", None)
    if callable(getattr(module, "receptive_field", None)):
        defaults = {k: d for k, d in _arguments(network, name)[0].items() if d is not inspect.Parameter.empty}
        field = user_code.call(module.receptive_field, {**defaults, **config})  # type: ignore[union-attr]  # has it
    from mobile_sr.models import custom

    try:
        resolved = custom.describe(model, scale, field, getattr(module, "SMALLEST_SIDE", 1))
        resolved["source"] = {**user_code.identity(function), "arguments": arguments}
        limits.check_config(resolved, models.defaults(resolved))
        json.dumps(resolved)
    except Exception as error:  # Keras raises many types
        text = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(f"{name}: {text}") from error
    return resolved


def build(network: Mapping[str, Any], name: str) -> keras.Model:
    """Build the network of a recipe.

    Args:
        network: the configuration, resolved.
        name: of the recipe, for the message.

    Raises:
        UserError: for arguments that the network does not accept.
    """
    try:
        return models.build(network)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        text = (" ".join(str(error).split()) or type(error).__name__)[:300]
        raise UserError(f"recipe {name}: its network {network.get('network')} cannot be built: {text}") from error


def relative_to(network: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a configuration in which a build() file without a leading folder is looked up in `folder`."""
    name = network.get("network")
    if isinstance(name, str) and user_code.is_reference(name):
        return {**network, "network": str(folder / name)}  # an absolute path stays as it is
    return dict(network)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """Return why a run of the network `old` cannot continue with `new`, in words, for custom networks; None for others."""
    before, now = (network.get("source") or {} for network in (old, new))
    if before.get("function") != now.get("function"):
        return f"its network was {_name(old)} and is {_name(new)}"
    if before.get("sha256") != now.get("sha256"):
        return f"the file of its network, {now['function']}, has changed since the run started"
    one, two = (source.get("arguments") or {} for source in (before, now))
    changed = [
        f"{key} of its network was {one.get(key)} and is {two.get(key)}"
        for key in {**one, **two}
        if one.get(key) != two.get(key)
    ]
    return ", ".join(changed[:3]) or None


def _name(network: Mapping[str, Any]) -> Any:
    return (network.get("source") or {}).get("function") or network.get("network")
