"""Measures the zoo on virtual devices: `python -m tools.zoo.devices docs/measurements/devices.json --data Set5`.

Every uint8 file is run on the Arm CPUs of virtual:arm64, on the driver of virtual:gpu and on the simulated NPU of
virtual:hexagon, and compiled for virtual:ethos-u. docs/guide/devices.md says what they need. None of these figures is a
phone's. Figures that are in the file already are kept, unless the packaged file has changed since. A device that is not
installed is an error; one that refuses a file is recorded with its reason.
"""

from __future__ import annotations

import collections
import datetime
import importlib.metadata
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import mobile_sr
from mobile_sr import files, models, zoo
from mobile_sr.benchmarking import virtual
from mobile_sr.devices import names
from mobile_sr.devices.device import Device
from mobile_sr.errors import UserError
from mobile_sr.evaluation import evaluate
from tools.zoo import command_line

FILE = Path(__file__).parents[2] / "docs" / "measurements" / "devices.json"
SIZE = (64, 64)  # LR (H, W) of counts and residency
VARIANT = "uint8"
DENSE = "@signature=dense"  # of AdaDSR: the form without a depth map
EXIT = "@signature=exit"  # of a network with exits, followed by a number of layers


class Setting(NamedTuple):
    """A virtual device with its option."""

    key: str  # of the figures in the JSON file
    device: str
    option: dict[str, str]


ARM = ("cortex-a76", "cortex-a72", "i8mm")
GPU, HEXAGON, ETHOS_U = "gpu", "hexagon-v73", "ethos-u65-256"
SETTINGS = (
    *(Setting(cpu, "virtual:arm64", {"cpu": cpu}) for cpu in ARM),
    Setting(GPU, "virtual:gpu", {}),
    Setting(ETHOS_U, "virtual:ethos-u", {}),
    Setting(HEXAGON, "virtual:hexagon", {"soc": "v73"}),  # last: it takes the longest
)


def forms(name: str) -> list[str]:
    """Returns the models of a packaged network: its uint8 file, AdaDSR's dense form, and the exits before the last one."""
    model, config = f"{name}:{VARIANT}", zoo.card(name)["config"]
    if models.has_depth(config):
        return [model, model + DENSE]
    return [model, *(f"{model}{EXIT}{layers}" for layers in models.exits(config)[:-1])]


def digest(model: str) -> str:
    """Returns the SHA-256 of the packaged file of a model."""
    return files.sha256_file(_file(model))


def _file(model: str) -> Path:
    return zoo.resolve(model.partition("@")[0])


def current(path: Path) -> dict[str, dict[str, Any]]:
    """Returns {model: {key of a setting: figures}} of a file, without those of packaged files that have changed since.

    The figures are a dict with "device", "date" and either "reason" (why the device has no figures) or "residency" (that of
    `Residency`, with {"OPERATOR: reason": number} as "refused") and, by device,
    "instructions_per_lr_pixel", "cycles_per_lr_pixel" or "psnr_y" and "psnr_y_xnnpack" in dB.
    """
    stored = files.read_json(path)["models"] if path.exists() else {}
    known = [model for name in zoo.names() for model in forms(name)]
    return {m: stored[m]["figures"] for m in known if m in stored and stored[m]["sha256"] == digest(m)}


def measure(path: str | Path, data: str | Path, only: str | None = None) -> None:
    """Measures what is missing and writes the JSON file after each figure.

    Args:
        path: the JSON file, which is made or extended.
        data: folder of the HR images for the PSNR of the simulated NPU.
        only: model to measure; None means all.

    Raises:
        UserError: a device is not installed, the model is unknown, the JSON file cannot be read or has figures of other
            images, or `data` has no images.
    """
    path, data = Path(path), Path(data)
    known = [model for name in zoo.names() for model in forms(name)]
    if only not in (None, *known):
        raise UserError(f"--model {only}: unknown; known: {', '.join(known)}")
    stored = files.read_json(path)["data"] if path.exists() else data.name
    if stored != data.name:
        raise UserError(f"--data {data}: the figures in {path} are of {stored}; write another file")
    missing = _missing(path, known if only is None else [only])
    needed = {setting.key: setting for _, setting in missing}
    devices = {key: names.find(setting.device, **setting.option) for key, setting in needed.items()}
    for model, setting in missing:
        print(f"{model} on {setting.key}", file=sys.stderr, flush=True)
        found = _measure_one(model, setting, devices[setting.key], data)
        rows = current(path)
        rows.setdefault(model, {})[setting.key] = found
        files.write_json(path, _document(rows, data.name))


def _missing(path: Path, wanted: list[str]) -> list[tuple[str, Setting]]:
    present = current(path)
    return [(model, setting) for setting in SETTINGS for model in wanted if setting.key not in present.get(model, {})]


def _document(rows: dict[str, dict[str, Any]], data: str) -> dict[str, Any]:
    order = [setting.key for setting in SETTINGS]
    return {
        "note": "virtual devices: no figure is a phone's; written by tools.zoo.devices",
        "height": SIZE[0],
        "width": SIZE[1],
        "data": data,
        "models": {
            model: {"sha256": digest(model), "figures": {key: rows[model][key] for key in order if key in rows[model]}}
            for model in sorted(rows)
        },
    }


def _measure_one(model: str, setting: Setting, device: Device, data: Path) -> dict[str, Any]:
    """Returns the figures of a model on a device, or the reason why there are none."""
    result: dict[str, Any] = {
        "device": device.label,
        "litert": importlib.metadata.version("ai-edge-litert"),
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
    }
    try:
        (row,) = virtual.measure([model], device, SIZE)["results"]
    except UserError as error:
        return {**result, "reason": _reason(str(error))}
    result["residency"] = {**row["residency"], "refused": _summary(row["residency"]["refused"])}
    if row["against_host"]:
        result["against_host"] = row["against_host"]
    if row["instructions_per_lr_pixel"]:
        result["instructions_per_lr_pixel"] = round(row["instructions_per_lr_pixel"], 1)
    if "cycles_per_lr_pixel" in row["figures"]:
        result["cycles_per_lr_pixel"] = row["figures"]["cycles_per_lr_pixel"]
    if setting.key == HEXAGON:
        result["psnr_y"] = _psnr(mobile_sr.load(model, device=setting.device, **setting.option), data)
        result["psnr_y_xnnpack"] = _psnr(mobile_sr.load(model), data)
    return result


def _reason(error: str) -> str:
    """Returns a message without the paths of the packaged file and of LiteRT's sources, which differ between machines."""
    error = re.sub(r"^.*?\.tflite(?: with input shape \(.*?\))?: ", "", error)
    return re.sub(r"ERROR: \[\S+\] \((.*)\)$", r"\1", error)


def _summary(refused: dict[str, str]) -> dict[str, int]:
    """{'OPERATOR: reason': how many}"""
    return dict(collections.Counter(f"{re.sub(r'[ _][0-9]+$', '', node)}: {reason}" for node, reason in refused.items()))


def _psnr(upscaler: Any, data: Path) -> float:
    """PSNR in dB of Y, the mean over the images."""
    return round(evaluate.evaluate(upscaler, data, "y", ssim=False)["mean"]["psnr"], 3)


def main() -> None:
    """Command line of this module."""
    parser = command_line.Parser("devices", __doc__)
    parser.add_argument("file", help="JSON file to write: docs/measurements/devices.json")
    parser.add_argument("--data", required=True, help="folder of HR images for the PSNR of the simulated NPU: Set5")
    parser.add_argument("--model", help="measure this model only, such as xlsr_x3:uint8")
    args = parser.parse_args()
    parser.run(measure, args.file, args.data, args.model)


if __name__ == "__main__":
    main()
