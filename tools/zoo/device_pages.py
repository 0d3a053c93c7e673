"""Sections of results.md and of the cards with the figures of virtual devices, from docs/measurements/devices.json."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mobile_sr import files
from tools.zoo import devices, templates

_TEXT = templates.Page("devices")
_ARM = {"cortex-a76": "Cortex-A76", "cortex-a72": "Cortex-A72", "i8mm": "i8mm"}
_OTHERS = {devices.GPU: "GPU accelerator", devices.HEXAGON: "Hexagon v73", devices.ETHOS_U: "Ethos-U65-256"}
_LABELS = {**_ARM, **_OTHERS}
_DENSE = ", dense signature"

Figures = dict[str, dict[str, Any]]  # {key of a setting: figures}


def instructions(name: str, cpu: str = "cortex-a76") -> float | None:
    """Returns the instructions per LR pixel of a packaged network's uint8 file; None if they were not measured."""
    return _instructions(devices.current(devices.FILE), f"{name}:{devices.VARIANT}", cpu)


def of_exits(name: str, cpu: str = "cortex-a76") -> list[float | None]:
    """Returns the instructions per LR pixel of each exit of a packaged network, the one with the fewest layers first."""
    last, *others = devices.forms(name)
    measured = devices.current(devices.FILE)
    return [_instructions(measured, model, cpu) for model in (*others, last)]


def _instructions(measured: dict[str, Figures], model: str, cpu: str) -> float | None:
    return measured.get(model, {}).get(cpu, {}).get("instructions_per_lr_pixel")


def results_section(names: Sequence[str]) -> str:
    """Returns the section of results.md: one row per file of these networks, and the reasons where a device has no figures."""
    measured = devices.current(devices.FILE)
    known = [model for name in names for model in devices.forms(name)]
    notes: list[str] = []
    rows = [[_title(model), *_cells(measured[model], model, notes)] for model in known if model in measured]
    missing = [model for model in known if set(_LABELS) - set(measured.get(model, {}))]
    if missing:
        notes.append(_TEXT.fill("changed", models=", ".join(missing)))
    found = [row for figures in measured.values() for row in figures.values()]
    dates = sorted({row["date"] for row in found})
    stored = files.read_json(devices.FILE)
    return _TEXT.fill(
        "results",
        **_conditions(stored),
        date=" to ".join(dict.fromkeys([*dates[:1], *dates[-1:]])),
        table=templates.table(["", *_header()], rows),
        notes="\n\n".join(notes),
        devices="; ".join(dict.fromkeys(row["device"] for row in found)),
        **_equal(measured.values()),
    )


def card_section(name: str) -> str:
    """Returns the section of a network's card: one column per form of its uint8 file."""
    measured = devices.current(devices.FILE)
    forms = [model for model in devices.forms(name) if model in measured]
    if not forms:
        return _TEXT.fill("no figures")
    notes: list[str] = []
    columns = [_cells(measured[model], model, notes) for model in forms]
    header = _header(arm=", instructions per LR pixel")
    if any(model.endswith(devices.DENSE) for model in forms):
        notes.append(_TEXT.fill("depth"))
    return _TEXT.fill(
        "card",
        **_conditions(files.read_json(devices.FILE)),
        table=templates.table(["", *(f"`{model}`" for model in forms)], map(list, zip(header, *columns, strict=True))),
        notes="\n\n".join(notes),
        **_equal(measured[model] for model in forms),
    )


def _title(model: str) -> str:
    name, _, layers = model.partition(devices.EXIT)
    text = name.partition(":")[0] + (_DENSE if model.endswith(devices.DENSE) else "")
    return f"{text}, exit after {layers} layers" if layers else text


def _conditions(stored: dict[str, Any]) -> dict[str, Any]:
    return {key: stored[key] for key in ("height", "width", "data")}


def _header(arm: str = "") -> list[str]:
    gpu, hexagon, ethos_u = _OTHERS.values()
    others = (f"{gpu}, operators", f"{hexagon}, operators", f"{hexagon}, PSNR", f"{ethos_u}, operators")
    return [*(f"{label}{arm}" for label in _ARM.values()), *others]


def _cells(figures: Figures, model: str, notes: list[str]) -> list[str]:
    """Returns the cells of `_header`. Reasons become `notes`, with their number in the cell."""
    cells: dict[str, str] = {}
    for key, label in _LABELS.items():
        row = figures.get(key)
        if row is None:
            cells[key] = "not measured"
        elif "reason" in row:
            notes.append(
                _TEXT.fill("reason", number=len(notes) + 1, model=model, device=label, reason=row["reason"].rstrip("."))
            )
            cells[key] = f"not supported <sup>{len(notes)}</sup>"
        elif key in _ARM:
            cells[key] = f"{row['instructions_per_lr_pixel']:,.0f}"
        else:
            cells[key] = _operators(row["residency"])
            if key == devices.GPU:
                cells[key] += f" ({row['against_host']['max_difference']:.0f})"
    npu = figures.get(devices.HEXAGON, {})
    psnr = f"{npu['psnr_y_xnnpack']:.3f} -> {npu['psnr_y']:.3f}" if "psnr_y" in npu else ""
    *others, ethos_u = cells.values()
    return [*others, psnr, ethos_u]


def _operators(residency: dict[str, Any]) -> str:
    """Such as '14 of 15, not DEPTH_TO_SPACE'."""
    left = dict.fromkeys(refused.partition(":")[0] for refused in residency["refused"])
    return f"{residency['taken']} of {residency['nodes']}" + (f", not {', '.join(left)}" if left else "")


def _equal(measured: Iterable[Figures]) -> dict[str, int]:
    """How many runs on Arm CPUs gave XNNPACK's bytes, of how many."""
    runs = [row["against_host"] for figures in measured for cpu, row in figures.items() if cpu in _ARM and "reason" not in row]
    return {"equal": sum(run["differing_fraction"] == 0 for run in runs), "runs": len(runs)}
