"""Virtual devices by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mobile_sr.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from mobile_sr.devices.device import Device

PREFIX = "virtual:"
# Name -> (module, class, the option that its class accepts). Modules are imported when they are asked for.
DEVICES = {
    "virtual:arm64": ("mobile_sr.devices.arm64", "Arm64Device", "cpu"),
    "virtual:hexagon": ("mobile_sr.devices.hexagon", "HexagonDevice", "soc"),
    "virtual:gpu": ("mobile_sr.devices.gpu", "GpuDevice", None),
    "virtual:ethos-u": ("mobile_sr.devices.ethos_u", "EthosUDevice", "soc"),
}
# LR pixels of the tiles of large images, where the time to compile and simulate grows with the size.
TILES = {"virtual:hexagon": 96, "virtual:gpu": 96, "virtual:ethos-u": 96}


def is_virtual(name: str | None) -> bool:
    """Whether the name given to --device is one of a virtual device, not of an Android device."""
    return name is not None and name.startswith(PREFIX)


def find(name: str, cpu: str | None = None, soc: str | None = None) -> Device:
    """Returns a virtual device, whose requirements were checked.

    Args:
        name: key of DEVICES.
        cpu: CPU of 'virtual:arm64'; None is its default.
        soc: chip of 'virtual:hexagon', or NPU of 'virtual:ethos-u'; None is its default.

    Raises:
        UserError: an unknown name, CPU or chip, an option of another device, or something to install is missing.
    """
    import importlib

    if name not in DEVICES:
        known = ", ".join(DEVICES)
        raise UserError(f"--device {name}: unknown virtual device; known: {known}{did_you_mean(name, DEVICES)}")
    module, kind, option = DEVICES[name]
    given = {key: value for key, value in (("cpu", cpu), ("soc", soc)) if value is not None}
    for key, value in given.items():
        if key != option:
            owners = " or ".join(other for other, row in DEVICES.items() if row[2] == key)
            raise UserError(f"--{key} {value}: requires --device {owners}, not {name}")
    options = {} if option is None else {option: given.get(option)}
    device: Any = getattr(importlib.import_module(module), kind)(**options)
    return device
