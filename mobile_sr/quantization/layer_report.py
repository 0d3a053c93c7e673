"""Results of the quantization debugger as a table for the terminal, as Markdown and as a self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mobile_sr.converters.printable import html_text, markdown_text, printable
from mobile_sr.evaluation import charts, report, templates
from mobile_sr.files import make_folder, write_json, write_text
from mobile_sr.imaging import metrics

_EXACT_DB = 100  # above the SQNR of any quantized layer; float32 against itself has 140 dB


def decibels(value: float | None) -> str:
    """Returns an SQNR in dB as text: a dash for None, 'exact' when only the rounding of float32 is left."""
    if value is None:
        return "-"
    return "exact" if value > _EXACT_DB else f"{value:.1f}"


def _percent(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}%}"


def _saturated(row: Mapping[str, Any]) -> str:
    if "saturated_low" not in row:
        return "-"
    share = row["saturated_low"] + row["saturated_high"]
    return "0" if share == 0 else f"{share:.3%}" if share >= 1e-5 else "<0.001%"


_COLUMNS = (
    ("layer", lambda row: row["name"]),
    ("operator", lambda row: row["op"]),
    ("SQNR dB", lambda row: decibels(row["sqnr_db"])),
    ("own dB", lambda row: decibels(row["own_sqnr_db"])),
    ("weights dB", lambda row: decibels(row["own_by_weights_db"])),
    ("rounding dB", lambda row: decibels(row["own_by_rounding_db"])),
    ("range used", lambda row: _percent(row.get("range_used"))),
    ("by channel", lambda row: _percent(row.get("channel_range_used"))),
    ("saturated", _saturated),
    ("noise", lambda row: report.number(row["picture_noise_rms"], 3)),
    ("share", lambda row: _percent(row["share"], 1)),
)
_LEGEND = (
    ("SQNR", "signal-to-noise ratio of the layer's result in the integer file, including the errors of all layers before it"),
    ("own", "SQNR of the layer alone, with inputs from the float file; split into its weights and the rounding of its result"),
    ("range used", "share of the quantized tensor's range that the float values use; by channel: median over the channels"),
    ("noise", "RMS error of the output in levels of 0..255 when only this layer is quantized; share: of the sum of squares"),
)


def _title(result: Mapping[str, Any]) -> str:
    return f"{Path(result['model']['name']).name} against {Path(result['reference']['name']).name}: where the error comes from"


def _table(result: Mapping[str, Any]) -> list[tuple[list[str], int | None]]:
    """(cells, rank or None) of every layer."""
    return [([cell(row) for _, cell in _COLUMNS], row["rank"]) for row in result["layers"]]


def _worst(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of the worst layers, the worst first."""
    return sorted((row for row in result["layers"] if row["rank"]), key=lambda row: row["rank"])


def _basis(result: Mapping[str, Any]) -> str:
    crops = result["crops"]
    return f"layers on the centre of {crops['count']} images ({', '.join(crops['sizes'])} LR pixels)"


def _split_rows(result: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    split = result["split"]
    yield "the float file", report.number(split["reference_psnr"], 3), ""
    for part in split["parts"]:
        yield part["what"], report.number(part["psnr"], 3), report.number(part["drop_db"], 3)


def text(result: Mapping[str, Any]) -> str:
    """Returns the table of layers, suggestions for the worst ones and the split, as text for a terminal.

    Args:
        result: from `quantization_debugger.locate`, as for the other functions of this module.
    """
    headings = [heading for heading, _ in _COLUMNS]
    table = _table(result)
    widths = [max(len(cells[k]) for cells in [headings, *(cells for cells, _ in table)]) for k in range(len(headings))]

    def line(cells: Sequence[str]) -> str:
        columns = zip(cells, widths, range(len(cells)), strict=True)
        return "  ".join(cell.ljust(width) if k < 2 else cell.rjust(width) for cell, width, k in columns)

    lines = [line(headings)] + [line(cells) + (f"  <- worst {rank}" if rank else "") for cells, rank in table]
    lines += ["", *(f"{what:<10}  {meaning}" for what, meaning in _LEGEND), ""]
    lines += [f"{row['rank']}. {row['name']} ({_percent(row['share'])}): {row['suggestion']}" for row in _worst(result)]
    lines += ["", f"{'quantized':<32} {'PSNR':>8} {'drop':>7}   (dB, {result['split']['images']} images)"]
    lines += [f"{what:<32} {psnr:>8} {drop:>7}" for what, psnr, drop in _split_rows(result)]
    lines += [f"{metrics.describe(result['protocol'])}; {_basis(result)}"]
    return "\n".join(printable(line.rstrip()) for line in lines)


def markdown(result: Mapping[str, Any]) -> str:
    """Returns suggestions, table and split as a section of a Markdown report."""
    headings = [heading for heading, _ in _COLUMNS]
    lines = ["## Where the error comes from", ""]
    for row in _worst(result):
        name, suggestion = markdown_text(row["name"]), markdown_text(row["suggestion"])
        lines.append(f"{row['rank']}. **{name}** ({_percent(row['share'])} of the noise): {suggestion}")
    lines += ["", "| " + " | ".join(headings) + " |", "|---|---" + "|---:" * (len(headings) - 2) + "|"]
    for cells, rank in _table(result):
        name, *cells = map(markdown_text, cells)
        lines.append("| " + " | ".join([f"**{name}**" if rank else name, *cells]) + " |")
    lines += ["", *(f"- {what}: {meaning}" for what, meaning in _LEGEND)]
    lines += ["", f"| quantized | PSNR dB | drop dB ({result['split']['images']} images) |", "|---|---:|---:|"]
    lines += [f"| {what} | {psnr} | {drop} |" for what, psnr, drop in _split_rows(result)]
    return "\n".join([*lines, "", f"{metrics.describe(result['protocol'])}; {_basis(result)}.", ""])


def _layer_chart(result: Mapping[str, Any]) -> str:
    rows = result["layers"]

    def values(key: str) -> list[float | None]:
        return [math.inf if row[key] is not None and row[key] > _EXACT_DB else row[key] for row in rows]

    panels = [
        {
            "title": "signal to quantization noise, dB (longer is better)",
            "share": 0.6,
            "series": [("own", "a", values("own_sqnr_db"), decibels), ("with all before it", "b", values("sqnr_db"), decibels)],
        },
        {
            "title": "share of the output's noise (shorter is better)",
            "share": 0.4,
            "ticks": "{:.0%}".format,
            "series": [("share", "a", [row["share"] for row in rows], lambda value: _percent(value, 1))],
        },
    ]
    labels = [(f"{row['rank']}. {row['name']}" if row["rank"] else row["name"], bool(row["rank"])) for row in rows]
    return charts.bars("Signal to quantization noise of every layer and its share of the output's noise", labels, panels)


def _split_chart(result: Mapping[str, Any]) -> str:
    parts = [part for part in result["split"]["parts"] if part["drop_db"] is not None]
    drops = [part["drop_db"] for part in parts]
    series = [("drop", "a", drops, lambda value: f"{report.number(value, 3)} dB")]
    labels = [(part["what"], False) for part in parts]
    return charts.bars(
        "PSNR lost by each part of the quantization", labels, [{"title": "PSNR lost, dB", "share": 1, "series": series}]
    )


def _cells(tag: str, cells: Sequence[str]) -> str:
    return "".join(f"<{tag}>{html_text(cell)}</{tag}>" for cell in cells)


def section(result: Mapping[str, Any]) -> str:
    """Returns suggestions, charts and table as HTML for the page of a report."""
    basis = _basis(result)
    return templates.fill(
        "layers.html",
        worst="".join(
            f"<li><b>{html_text(row['name'])}</b> ({_percent(row['share'])} of the noise): {html_text(row['suggestion'])}.</li>"
            for row in _worst(result)
        ),
        split_chart=_split_chart(result),
        split_rows="".join(f"<tr>{_cells('td', row)}</tr>" for row in _split_rows(result)),
        layer_chart=_layer_chart(result),
        headings=_cells("th", [heading for heading, _ in _COLUMNS]),
        layer_rows="".join(f"<tr{' class=no' if rank else ''}>{_cells('td', cells)}</tr>" for cells, rank in _table(result)),
        legend="".join(f"<li><b>{html_text(what)}</b>: {html_text(meaning)}</li>" for what, meaning in _LEGEND),
        basis=html_text(basis[0].upper() + basis[1:]),
    )


def page(result: Mapping[str, Any]) -> str:
    """Returns the report as one HTML page that loads nothing from elsewhere."""
    split = {part["part"]: part for part in result["split"]["parts"]}
    worst = _worst(result)[0]
    cards = [
        ("main", f"{report.number(split['model']['drop_db'], 3)} dB", "PSNR lost by the integer file"),
        ("", f"{report.number(split['weights']['drop_db'], 3)} dB", "by weights only"),
        ("", f"{report.number(split['activations']['drop_db'], 3)} dB", "by activations only"),
        ("", f"{report.number(split['output']['drop_db'], 3)} dB", "by output rounding only"),
        ("", worst["name"], f"worst layer, {_percent(worst['share'])} of the noise"),
    ]
    images = f"{result['data']}, {result['split']['images']} images, x{result['scale']}"
    about = f"{images}. Protocol: {metrics.describe(result['protocol'])}."
    body = report.cards(cards) + section(result) + "<h2>Files and audit</h2>" + report.files(result) + report.skipped(result)
    return report.document(_title(result), about, body)


def write(out: str | Path, result: Mapping[str, Any]) -> Path:
    """Write layers.json, layers.md and layers.html and return the path of the HTML page.

    Args:
        out: folder to write to; it is created.
    Raises: UserError when `out` cannot be a folder.
    """
    folder = make_folder(out)
    write_json(folder / "layers.json", result)
    write_text(folder / "layers.md", f"# {markdown_text(_title(result))}\n\n{markdown(result)}")
    write_text(folder / "layers.html", page(result))
    return folder / "layers.html"
