"""The report of `network_check.check` as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mobile_sr.converters.printable import printable
from mobile_sr.converters.tflite import delegates
from mobile_sr.evaluation import instructions
from mobile_sr.imaging import flat_colours

_UNITS = (
    ("parameters", "parameters", 1e6, "M"),
    ("script_flops", "script FLOPs", 1e9, "G"),
    ("flops", "FLOPs", 1e9, "G"),
    ("multiply_adds", "multiply-adds", 1e9, "G"),
    ("activations", "activations", 1e6, "M"),
)


def text(report: Mapping[str, Any]) -> str:
    """Returns the report in lines: name of the fact, its value.

    Args:
        report: from `network_check.check`.
    """
    lines = [f"{name:<16}{value}" for name, value in _facts(report)]
    lines += [f"note: {line}" for line in report["notes"]]
    problems = report["problems"]
    lines += [f"PROBLEM: {line}" for line in problems]
    lines.append(f"{len(problems)} problem{'' if len(problems) == 1 else 's'}" if problems else "no problems")
    return "\n".join(map(printable, lines))


def _facts(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    weights = "" if report["trained"] else ", random weights"
    yield "network", f"{report['network'] or report['model']} x{report['scale']}{weights}"
    if counts := report.get("counts"):
        yield "costs for", f"{counts['width']}x{counts['height']} LR pixels"
        for key, name, unit, letter in _UNITS:
            if key in counts:
                yield name, f"{counts[key] / unit:8.3f} {letter}" + (f" ({counts[key]:,})" if key == "parameters" else "")
        yield "convolutions", f"{counts['convolutions']:4d}"
    if row := report.get("table"):
        measures = f"{row['parameters']:.3f} M, {row['flops']:.2f} G, {row['activations']:.2f} M, {row['convolutions']}"
        yield "", f"NTIRE 2022, Table 1 ({row['team']}): {measures} convolutions, {row['psnr']:.2f} dB"
    if field := report.get("receptive_field"):
        declared = "the whole image" if field["declared"] is None else f"{field['declared']} LR pixels"
        measured = f"at least {field['measured']}" if field["whole_image"] else f"{field['measured']}"
        bound = "" if field["bound"] is None else f", at most {field['bound']} by its operators"
        yield "receptive field", f"{declared} declared, {measured} measured to each side{bound}"
    if side := report.get("smallest_side"):
        runs = {None: "", True: ", runs", False: ", does not run"}[side["runs"]]
        yield "smallest side", f"{side['declared']} LR pixels{runs}"
    if sample := report.get("sample"):
        yield "sample image", f"{sample['psnr']:.2f} dB, bicubic {sample['bicubic_psnr']:.2f} dB"
    if reference := report.get("reference"):
        yield "reference", f"largest error {reference['max_error']:.1e} of the data range, {reference['limit']:.0e} allowed"
    yield from _uint8(report["uint8"], report["trained"])
    if report["targets"]:
        yield from _targets(report["targets"])


def _uint8(uint8: Mapping[str, Any], trained: bool) -> Iterator[tuple[str, str]]:
    if not uint8["whole_integer"]:
        yield "uint8", "FAILED"
        for check in uint8["failed_checks"]:
            yield "", f"{check['check']}: {check['found']}"
        return
    yield "uint8", f"whole integer, {uint8['psnr_of_float']:.1f} dB from the float network on a test card"
    if trained and uint8["loss_db"] is not None:
        psnr = uint8["psnr"]
        yield (
            "",
            f"{psnr['float32']:.2f} -> {psnr['uint8']:.2f} dB, loss {uint8['loss_db']:.3f} dB (RGB, images of scikit-image)",
        )
    if trained:
        yield "", flat_colours.describe(uint8["colour_error"])


def _targets(targets: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if targets["arm64"]:
        yield "Arm", instructions.describe(targets["arm64"])
    yield "XNNPACK", f"{targets['xnnpack_partitions']} partition(s)"
    for name, refusals in targets["delegates"].items():
        yield "by its rules", f"{delegates.TITLES[name]}: {delegates.describe(refusals) or 'supports every operator'}"
    for name, found in targets["devices"].items():
        if "error" in found:
            yield "compiled", f"{name}: {found['error']}"
            continue
        residency = found["residency"]
        parts = f" in {residency['partitions']} partition(s)" if residency["partitions"] is not None else ""
        refused = "".join(f"; not {operator}: {reason}" for operator, reason in residency["refused"].items())
        yield "compiled", f"{found['label']}: {residency['taken']} of {residency['nodes']} operators{parts}{refused}"
