"""Sections of results.md and of the cards with the figures of virtual devices, from docs/measurements/devices.json."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mobile_sr import files
from tools.zoo import devices, templates

_TEXT = templates.Page("devices")
_ARM = {"cortex-a76": "Cortex-A76", "cortex-a72": "Cortex-A72", "i8mm": "i8mm"}
_HEXAGON, _ETHOS_U = "Hexagon v73", "Ethos-U65-256"
_LABELS = {**_ARM, devices.HEXAGON: _HEXAGON, devices.ETHOS_U: _ETHOS_U}
_HEADER = (f"{_HEXAGON}, operators", f"{_HEXAGON}, PSNR", f"{_ETHOS_U}, operators")
_DENSE = ", dense signature"

Figures = dict[str, dict[str, Any]]  # {key of a setting: figures}


def instructions(name: str, cpu: str = "cortex-a76") -> float | None:
    """Returns the instructions per LR pixel of a packaged network's uint8 file; None if they were not measured."""
    row = devices.current(devices.FILE).get(f"{name}:{devices.VARIANT}", {}).get(cpu, {})
    return row.get("instructions_per_lr_pixel")


def results_section(names: Sequence[str]) -> str:
    """Returns the section of results.md: one row per file of these networks, and the reasons where a device has no figures."""
    measured = devices.current(devices.FILE)
    known = [model for name in names for model in devices.forms(name)]
    reasons: list[str] = []
    rows = [[_title(model), *_cells(measured[model], model, reasons)] for model in known if model in measured]
    missing = [model for model in known if set(_LABELS) - set(measured.get(model, {}))]
    notes = [*reasons, *([_TEXT.fill("changed", models=", ".join(missing))] if missing else [])]
    stored = files.read_json(devices.FILE)
    found = [row for figures in measured.values() for row in figures.values()]
    dates = sorted({row["date"] for row in found})
    return _TEXT.fill(
        "results",
        **_size(stored),
        data=stored["data"],
        date=" and ".join({dates[0]: None, dates[-1]: None}) if dates else "",
        table=templates.table(["", *_ARM.values(), *_HEADER], rows),
        notes="\n\n".join(notes),
        devices="; ".join(dict.fromkeys(row["device"] for row in found)),
        chart=_TEXT.fill("chart") if any(map(instructions, names)) else "",
        **_equal(measured.values()),
    )


def card_section(name: str) -> str:
    """Returns the section of a network's card: one column per form of its uint8 file."""
    measured = devices.current(devices.FILE)
    forms = [model for model in devices.forms(name) if model in measured]
    if not forms:
        return _TEXT.fill("no figures")
    columns = [_cells(measured[model], model) for model in forms]
    stored = files.read_json(devices.FILE)
    header = [f"{label}, instructions per LR pixel" for label in _ARM.values()]
    header += [f"{_HEXAGON}, operators", f"{_HEXAGON}, PSNR (Y, {stored['data']}), XNNPACK -> NPU", f"{_ETHOS_U}, operators"]
    rows = [list(row) for row in zip(header, *columns, strict=True)]
    return _TEXT.fill(
        "card",
        **_size(stored),
        table=templates.table(["", *(f"`{model}`" for model in forms)], rows),
        depth_note=_TEXT.fill("at depth") if len(devices.forms(name)) > 1 else "",
        **_equal(measured[model] for model in forms),
    )


def _title(model: str) -> str:
    return model.partition(":")[0] + (_DENSE if model.endswith(devices.DENSE) else "")


def _size(stored: dict[str, Any]) -> dict[str, int]:
    return {key: stored[key] for key in ("height", "width")}


def _cells(figures: Figures, model: str, notes: list[str] | None = None) -> list[str]:
    """Returns the cells of all devices. A reason goes into its cell, or into `notes` with a number in the cell."""

    def refusal(key: str) -> str | None:
        """The cell of a device that refuses the file, or was not measured; None if there are figures."""
        if key not in figures:
            return "not measured"
        reason = figures[key].get("reason")
        if reason is None or notes is None:
            return reason and f"not supported: {reason}"
        notes.append(_TEXT.fill("refused", number=len(notes) + 1, model=model, device=_LABELS[key], reason=reason))
        return f"not supported <sup>{len(notes)}</sup>"

    cells = [refusal(cpu) or f"{figures[cpu]['instructions_per_lr_pixel']:,.0f}" for cpu in _ARM]
    refused = refusal(devices.HEXAGON)
    if refused:
        cells += [refused, ""]
    else:
        npu = figures[devices.HEXAGON]
        cells += [_operators(npu["residency"]), f"{npu['psnr_y_xnnpack']:.3f} -> {npu['psnr_y']:.3f}"]
    return [*cells, refusal(devices.ETHOS_U) or _operators(figures[devices.ETHOS_U]["residency"])]


def _operators(residency: dict[str, Any]) -> str:
    """Such as '14 of 15, not DEPTH_TO_SPACE'."""
    left = dict.fromkeys(refused.partition(":")[0] for refused in residency["refused"])
    return f"{residency['taken']} of {residency['nodes']}" + (f", not {', '.join(left)}" if left else "")


def _equal(measured: Iterable[Figures]) -> dict[str, int]:
    """How many runs on Arm CPUs gave XNNPACK's bytes, of how many."""
    runs = [row["against_host"] for figures in measured for cpu, row in figures.items() if cpu in _ARM and "reason" not in row]
    return {"equal": sum(run["differing_fraction"] == 0 for run in runs), "runs": len(runs)}
