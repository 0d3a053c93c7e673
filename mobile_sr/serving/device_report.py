"""One table of benchmark results from several places: this computer, phones, virtual devices and browsers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mobile_sr.converters.printable import html_text
from mobile_sr.evaluation.report import document, number

COLUMNS = (
    "model",
    "measured on",
    "ran on",
    "input",
    "load ms",
    "first ms",
    "p50 ms",
    "p90 ms",
    "instr/LR px",
    "vs CPU dB",
    "max diff",
    "PSNR Y dB",
    "memory MB",
    "SHA-256",
)
ABOUT = (
    "Times are wall times of one inference. A virtual device has no times: its instructions per LR pixel are counted. "
    "Figures of different places are not comparable unless the place is the same."
)


def is_report(report: Any) -> bool:
    """Returns whether a value can be shown: a report of benchmark.schema.json with the fields that the table needs."""
    try:
        list(_rows(report))
    except (KeyError, TypeError, AttributeError, ValueError, IndexError):
        return False
    return True


def place(report: Mapping[str, Any]) -> str:
    """Returns where a report was measured, such as 'host: CPU', 'device: NAME' or 'browser, DEVICE'."""
    where, environment = report["where"], report["environment"]
    if where == "browser":
        return f"browser, {environment['device']}"
    if where == "virtual":
        return str(environment["label"])
    if "cpu" in environment:
        return f"host: {environment['cpu']}"
    names = [name for name in (environment["manufacturer"], environment["device"]) if name]
    return f"{where}: {' '.join(names) or 'unknown'}"


def _rows(report: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The cells of a report's results; raises KeyError or TypeError for another file."""
    make = {"browser": _browser, "virtual": _virtual}.get(report["where"], _native)
    for row in report["results"]:
        digest = row["sha256"] or ""
        yield (str(row["model"]), place(report), *make(row, report["environment"]), digest[:12])


def _browser(row: Mapping[str, Any], environment: Mapping[str, Any]) -> tuple[str, ...]:
    cpu, reference = row["against_cpu"], row["against_reference"]
    ran = f"failed: {row['error']}" if row["error"] is not None else str(row["effective_accelerator"]).upper()
    if row["effective_accelerator"] == "cpu":
        ran += f", {row['threads']} thread(s)"
    if row["fully_accelerated"] is False:
        ran += " and CPU"
    if row["effective_accelerator"] not in (None, row["requested_accelerator"].partition("_")[0]):
        ran += f" (asked for {row['requested_accelerator']})"
    return (
        ran,
        f"{row['width']}x{row['height']}" if row["width"] else "-",
        number(row["load_ms"], 1),
        number(row["first_ms"], 1),
        *_times(row),
        "-",
        "-" if cpu is None else _decibels(cpu["psnr"]),
        "-" if cpu is None else str(cpu["max_difference"]),
        "-" if reference is None else _decibels(reference["psnr_y"]),
        _megabytes(row["memory_bytes"]),
    )


def _virtual(row: Mapping[str, Any], environment: Mapping[str, Any]) -> tuple[str, ...]:
    differs, taken = row["against_host"], row["residency"]
    return (
        f"{taken['taken']} of {taken['nodes']} operators",
        f"{environment['width']}x{environment['height']}",
        *("-",) * 4,
        number(row["instructions_per_lr_pixel"], 0),
        "-",
        "-" if differs is None else f"{differs['max_difference']:g}",
        "-",
        "-",
    )


def _native(row: Mapping[str, Any], environment: Mapping[str, Any]) -> tuple[str, ...]:
    memory = row["peak_memory_bytes"] if "peak_memory_bytes" in row else row["memory_pss_bytes"]
    failed = f"failed: {row['error']}" if row["error"] is not None else str(row["effective_delegate"])
    return (
        failed if row["error"] is not None else f"{failed}, {row['threads']} thread(s)",
        f"{environment['width']}x{environment['height']}",
        number(row["init_ms"], 1),
        number(row.get("first_ms"), 1),
        *_times(row),
        "-",
        number(row.get("psnr_vs_cpu")),
        "-",
        "-",
        _megabytes(memory),
    )


def _times(row: Mapping[str, Any]) -> tuple[str, str]:
    times = row["latency_ms"]
    return ("-", "-") if times is None else (number(times["p50"], 1), number(times["p90"], 1))


def _decibels(value: float | None) -> str:
    return "equal" if value is None else number(value)


def _megabytes(value: float | None) -> str:
    return "-" if value is None else f"{value / 1e6:.1f}"


def page(reports: Sequence[Mapping[str, Any]]) -> str:
    """Returns the reports as one HTML page that loads nothing from elsewhere.

    Args:
        reports: of docs/reference/benchmark.schema.json, which `is_report` accepts.
    """
    rows = [row for report in reports for row in _rows(report)]
    body = "".join("<tr>" + "".join(f"<td>{html_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    head = "".join(f'<th scope="col">{html_text(name)}</th>' for name in COLUMNS)
    table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    notes = sorted({note for r in reports if r["where"] == "browser" for row in r["results"] for note in row["notes"]})
    listed = "".join(f"<li>{html_text(note)}</li>" for note in notes)
    empty = "" if rows else "<p>No results yet. Open the page, run a model and press Send to the computer.</p>"
    return document("Benchmarks", ABOUT, empty + table + (f"<h2>Notes</h2><ul>{listed}</ul>" if listed else ""))
