"""Where an integer file loses, for people: a table for the terminal, Markdown, and one self-contained HTML page."""

import math
from pathlib import Path

from mobile_sr.converters.printable import html_text, markdown_text, printable
from mobile_sr.evaluation import charts, report
from mobile_sr.files import make_folder, write_json, write_text
from mobile_sr.imaging import metrics

_EXACT_DB = 100  # float32 against itself has 140 dB


def decibels(value):
    """An SQNR for people: a dash without one, 'exact' where only float's own rounding is left."""
    if value is None:
        return "-"
    return "exact" if value > _EXACT_DB else f"{value:.1f}"


def _percent(value, digits=0):
    return "-" if value is None else f"{value:.{digits}%}"


def _saturated(row):
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
    ("SQNR", "signal to noise of the layer's result in the integer file, with all errors before it"),
    ("own", "what the layer itself adds, when it is given the float file's values; split into its weights and the rounding"),
    ("range used", "by the float file's values, of the range of the quantized tensor; by channel: the median of the channels"),
    ("noise", "RMS in levels of 0..255 that the picture gets when this layer alone is quantized; share: of the sum of squares"),
)


def _title(found):
    return f"{Path(found['model']['name']).name} against {Path(found['reference']['name']).name}: where the error comes from"


def _table(found):
    """[(cells, rank or None)] of all layers."""
    return [([cell(row) for _, cell in _COLUMNS], row["rank"]) for row in found["layers"]]


def _named(found):
    """The worst layers' rows, the worst first."""
    return sorted((row for row in found["layers"] if row["rank"]), key=lambda row: row["rank"])


def _basis(found):
    crops = found["crops"]
    return f"layers on the centre of {crops['count']} images ({', '.join(crops['sizes'])} LR pixels)"


def _split_rows(found):
    split = found["split"]
    yield "the float file", report.number(split["reference_psnr"], 3), ""
    for part in split["parts"]:
        yield part["what"], report.number(part["psnr"], 3), report.number(part["drop_db"], 3)


def text(found):
    """The table of the layers, the worst named with a suggestion, and the split, for a terminal."""
    headings = [heading for heading, _ in _COLUMNS]
    table = _table(found)
    widths = [max(len(cells[k]) for cells in [headings, *(cells for cells, _ in table)]) for k in range(len(headings))]

    def line(cells):
        columns = zip(cells, widths, range(len(cells)), strict=True)
        return "  ".join(cell.ljust(width) if k < 2 else cell.rjust(width) for cell, width, k in columns)

    lines = [line(headings)] + [line(cells) + (f"  <- worst {rank}" if rank else "") for cells, rank in table]
    lines += ["", *(f"{what:<10}  {meaning}" for what, meaning in _LEGEND), ""]
    lines += [f"{row['rank']}. {row['name']} ({_percent(row['share'])}): {row['suggestion']}" for row in _named(found)]
    lines += ["", f"{'quantized':<32} {'PSNR':>8} {'drop':>7}   (dB, {found['split']['images']} images)"]
    lines += [f"{what:<32} {psnr:>8} {drop:>7}" for what, psnr, drop in _split_rows(found)]
    lines += [f"{metrics.describe(found['protocol'])}; {_basis(found)}"]
    return "\n".join(printable(line.rstrip()) for line in lines)


def markdown(found):
    """The same as a section of a Markdown report."""
    headings = [heading for heading, _ in _COLUMNS]
    lines = ["## Where the error comes from", ""]
    for row in _named(found):
        name, suggestion = markdown_text(row["name"]), markdown_text(row["suggestion"])
        lines.append(f"{row['rank']}. **{name}** ({_percent(row['share'])} of the noise): {suggestion}")
    lines += ["", "| " + " | ".join(headings) + " |", "|---|---" + "|---:" * (len(headings) - 2) + "|"]
    for cells, rank in _table(found):
        name, *cells = map(markdown_text, cells)
        lines.append("| " + " | ".join([f"**{name}**" if rank else name, *cells]) + " |")
    lines += ["", *(f"- {what}: {meaning}" for what, meaning in _LEGEND)]
    lines += ["", f"| quantized | PSNR dB | drop dB ({found['split']['images']} images) |", "|---|---:|---:|"]
    lines += [f"| {what} | {psnr} | {drop} |" for what, psnr, drop in _split_rows(found)]
    return "\n".join([*lines, "", f"{metrics.describe(found['protocol'])}; {_basis(found)}.", ""])


def _layer_chart(found):
    rows = found["layers"]

    def values(key):
        return [math.inf if row[key] is not None and row[key] > _EXACT_DB else row[key] for row in rows]

    panels = [
        {
            "title": "signal to quantization noise, dB (longer is better)",
            "share": 0.6,
            "series": [("own", "a", values("own_sqnr_db"), decibels), ("with all before it", "b", values("sqnr_db"), decibels)],
        },
        {
            "title": "share of the picture's noise (shorter is better)",
            "share": 0.4,
            "ticks": "{:.0%}".format,
            "series": [("share", "a", [row["share"] for row in rows], lambda value: _percent(value, 1))],
        },
    ]
    labels = [(f"{row['rank']}. {row['name']}" if row["rank"] else row["name"], bool(row["rank"])) for row in rows]
    return charts.bars("Signal to quantization noise of every layer and its share of the picture's noise", labels, panels)


def _split_chart(found):
    parts = [part for part in found["split"]["parts"] if part["drop_db"] is not None]
    drops = [part["drop_db"] for part in parts]
    series = [("drop", "a", drops, lambda value: f"{report.number(value, 3)} dB")]
    labels = [(part["what"], False) for part in parts]
    return charts.bars(
        "PSNR lost by each part of the quantization", labels, [{"title": "PSNR lost, dB", "share": 1, "series": series}]
    )


def section(found):
    """The charts, the suggestions and the table as HTML for a report's page."""
    worst = "".join(
        f"<li><b>{html_text(row['name'])}</b> ({_percent(row['share'])} of the noise): {html_text(row['suggestion'])}.</li>"
        for row in _named(found)
    )
    head = "".join(f"<th>{html_text(heading)}</th>" for heading, _ in _COLUMNS)
    body = "".join(
        f"<tr{' class=no' if rank else ''}>{''.join(f'<td>{html_text(cell)}</td>' for cell in cells)}</tr>"
        for cells, rank in _table(found)
    )
    split = "".join(f"<tr>{''.join(f'<td>{html_text(cell)}</td>' for cell in row)}</tr>" for row in _split_rows(found))
    legend = "".join(f"<li><b>{html_text(what)}</b>: {html_text(meaning)}</li>" for what, meaning in _LEGEND)
    return f"""<h2>Worst layers</h2><ol class="worst-layers">{worst}</ol>
<h2>What each part of the quantization costs</h2>
{_split_chart(found)}
<div class="scroll"><table class="narrow"><thead><tr><th>quantized</th><th>PSNR dB</th><th>drop dB</th></tr></thead>
<tbody>{split}</tbody></table></div>
<h2>Every layer</h2>
{_layer_chart(found)}
<div class="scroll"><table class="layers"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>
<ul class="legend">{legend}</ul>
<p class="soft">{html_text(_basis(found)[0].upper() + _basis(found)[1:])}.</p>"""


def page(found):
    """The report as one HTML page that loads nothing from elsewhere."""
    split = {part["part"]: part for part in found["split"]["parts"]}
    worst = _named(found)[0]
    cards = [
        ("main", f"{report.number(split['model']['drop_db'], 3)} dB", "PSNR lost by the integer file"),
        ("", f"{report.number(split['weights']['drop_db'], 3)} dB", "by weights only"),
        ("", f"{report.number(split['activations']['drop_db'], 3)} dB", "by activations only"),
        ("", f"{report.number(split['output']['drop_db'], 3)} dB", "by output rounding only"),
        ("", worst["name"], f"worst layer, {_percent(worst['share'])} of the noise"),
    ]
    images = f"{found['data']}, {found['split']['images']} images, x{found['scale']}"
    about = f"{images}. Protocol: {metrics.describe(found['protocol'])}."
    skipped = "".join(f"<li>{html_text(line)}</li>" for line in found["skipped"])
    body = report.cards(cards) + section(found) + "<h2>Files and audit</h2>" + report.files(found)
    return report.document(_title(found), about, body + (f"<h2>Skipped</h2><ul>{skipped}</ul>" if skipped else ""))


def write(out, found):
    """Write layers.json, layers.md and layers.html into `out`; returns the path of the HTML file."""
    out = make_folder(out)
    write_json(out / "layers.json", found)
    write_text(out / "layers.md", f"# {markdown_text(_title(found))}\n\n{markdown(found)}")
    write_text(out / "layers.html", page(found))
    return Path(out) / "layers.html"
