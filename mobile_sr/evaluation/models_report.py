"""Report on several models: a table for the terminal, CSV, Markdown, JSON, plots, a contact sheet and an HTML page."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mobile_sr import __version__
from mobile_sr.converters.printable import html_text, markdown_text, printable
from mobile_sr.evaluation import contact_sheet, plots, report, templates, viewer
from mobile_sr.evaluation.compare_models import short_names
from mobile_sr.files import make_folder, write_bytes, write_json, write_text
from mobile_sr.imaging import flat_colours, metrics
from mobile_sr.imaging.images import encode_image

_LOG_FROM = 8  # ratio of the largest to the smallest cost from which its axis is logarithmic


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of the table of models.

    Attributes:
        key: name in the CSV file and of `compare --sort`.
        heading: in tables.
        value: function from an entry of "models" to its number; None for no figure.
        form: format of the number.
        rising: whether a larger number is better.
        unit: of an axis, if the column is a cost.
    """

    key: str
    heading: str
    value: Callable[[Mapping[str, Any]], float | None]
    form: str
    rising: bool = False
    unit: str = ""

    def text(self, entry: Mapping[str, Any]) -> str:
        """Returns the number of an entry as text."""
        value = self.value(entry)
        return "-" if value is None else "equal" if math.isinf(value) else f"{value:{self.form}}"


COLUMNS = (
    Column("psnr", "PSNR dB", lambda entry: entry["psnr"], ".3f", True),
    Column("gain", "gain dB", lambda entry: entry.get("gain_db"), "+.3f", True),
    Column("drop", "drop dB", lambda entry: entry.get("drop_db"), ".3f"),
    Column("ssim", "SSIM", lambda entry: entry["ssim"], ".4f", True),
    Column("colour", "colour error", lambda entry: entry["colour_error"]["flat"] if "colour_error" in entry else None, "d"),
    Column("size", "bytes", lambda entry: entry.get("size_bytes"), ",d", unit="size of the file, bytes"),
    Column(
        "instructions",
        "instructions",
        lambda entry: entry.get("instructions_per_lr_pixel"),
        ",.0f",
        unit="instructions per LR pixel",
    ),
    Column("time", "time ms", lambda entry: entry.get("time_ms"), ".2f", unit="time, ms"),
)


def columns(record: Mapping[str, Any]) -> list[Column]:
    """Returns the columns of a record: without the drop if there is no reference, with the own metrics."""
    kept = [column for column in COLUMNS if record["has_reference"] or column.key != "drop"]
    return kept + [Column(name, name, functools.partial(_own_metric, name), ".4g") for name in record["bicubic"]["metrics"]]


def _own_metric(name: str, entry: Mapping[str, Any]) -> float | None:
    return entry["metrics"][name]


def _rows(record: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """(name, entry) of every model, bicubic as the last."""
    names = short_names(record["models"])
    if record["has_reference"]:
        names[0] += " (reference)"
    return [*zip(names, record["models"], strict=True), ("bicubic", record["bicubic"])]


def notes(record: Mapping[str, Any]) -> list[str]:
    """Returns lines that explain the columns of a record."""
    height, width = record["time"]["size"]
    lines = [
        f"{len(record['images'])} images of {record['data']}, x{record['scale']}; {metrics.describe(record['protocol'])}.",
        "gain: PSNR above bicubic interpolation of the same LR images.",
    ]
    if record["has_reference"]:
        lines.append("drop: PSNR below the reference.")
    return [
        *lines,
        f"colour error: largest error on {len(flat_colours.COLOURS)} flat colours, in levels of 0..255.",
        "instructions: of an 8-bit .tflite for each LR pixel on an Arm Cortex-A76, estimated; '-' for other files.",
        f"time: {record['time']['of']} on this machine for {width}x{height} LR pixels, median of {record['time']['rounds']} "
        "interleaved rounds, with the conversion from and to uint8.",
    ]


def text(record: Mapping[str, Any], sort: str = "psnr") -> str:
    """Returns the table of models and its notes as text for a terminal.

    Args:
        record: from `compare_models.compare_models`, as for the other functions of this module.
        sort: key of the column to sort by, the best first; bicubic is always last.
    """
    table = columns(record)
    by = next(column for column in table if column.key == sort)
    *rows, bicubic = _rows(record)

    def rank(row: tuple[str, Mapping[str, Any]]) -> tuple[bool, float]:
        value = by.value(row[1])
        return value is None, 0.0 if value is None else -value if by.rising else value

    lines = [["model", *(column.heading for column in table)]]
    lines += [[name, *(column.text(entry) for column in table)] for name, entry in (*sorted(rows, key=rank), bicubic)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    padded = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]
    return "\n".join(map(printable, [headline(record), "", *padded, "", *notes(record)]))


def headline(record: Mapping[str, Any]) -> str:
    """Returns one line: the model with the largest gain over bicubic."""
    figure, caption = _best(record)
    return f"{figure} {caption}"


def _best(record: Mapping[str, Any]) -> tuple[str, str]:
    """(gain, explanation) of the model with the largest gain over bicubic."""
    rows = [(name, entry["gain_db"]) for name, entry in _rows(record)[:-1] if entry["gain_db"] is not None]
    if not rows:
        return "-", "no gain over bicubic: no finite PSNR"
    name, gain = max(rows, key=lambda row: row[1])
    return f"{gain:+.2f} dB", f"over bicubic: {name}"


def csv_files(record: Mapping[str, Any]) -> dict[str, str]:
    """Returns {"models.csv", "images.csv"}: one row per model; one row per image and model. Numbers are not rounded."""
    table = columns(record)
    named = _rows(record)
    models = [["model", "file", *(column.key for column in table)]]
    models += [[name, entry.get("name", name), *(_plain(column.value(entry)) for column in table)] for name, entry in named]
    own = list(record["bicubic"]["metrics"])
    images = [["image", "model", "psnr", "bicubic_psnr", "drop", "ssim", *own]]
    for row in record["images"]:
        for (name, _), scores in zip(named, row["models"], strict=False):  # without bicubic
            figures = (scores["psnr"], row["bicubic_psnr"], scores["drop_db"], scores["ssim"])
            own_figures = [scores["metrics"][key] for key in own]
            images.append([printable(row["name"]), name, *map(_plain, (*figures, *own_figures))])
    return {"models.csv": _csv(models), "images.csv": _csv(images)}


def _plain(value: float | None) -> str:
    return "" if value is None else repr(value)


def _csv(rows: Iterable[Sequence[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([[printable(cell) for cell in row] for row in rows])
    return buffer.getvalue()


def plot_files(record: Mapping[str, Any], width: int = plots.WIDE) -> dict[str, str]:
    """Returns {"psnr_COST.svg": PSNR against a cost} for the size, the instructions and the time of two or more models.

    Args:
        record: from `compare_models.compare_models`.
        width: of a plot, in pixels.
    """
    result = {}
    for column in COLUMNS:
        named = [(name, entry["psnr"], column.value(entry)) for name, entry in _rows(record)[:-1]]
        points = [(cost, psnr, name) for name, psnr, cost in named if cost and psnr is not None and math.isfinite(psnr)]
        if column.unit and len(points) > 1:
            costs = [cost for cost, _, _ in points]
            title, log = f"PSNR against {column.key}, x{record['scale']}", max(costs) > _LOG_FROM * min(costs)
            svg = plots.plot(title, column.unit, "PSNR, dB", [("", points, False)], log_x=log, width=width)
            result[f"psnr_{column.key}.svg"] = svg
    return result


def markdown(record: Mapping[str, Any]) -> str:
    """Returns the report as Markdown text."""
    table = columns(record)
    lines = [f"# {markdown_text(_title(record))}", "", f"**{markdown_text(headline(record))}**", ""]
    lines += [
        f"| model | {' | '.join(markdown_text(column.heading) for column in table)} |",
        "|---" + "|---:" * len(table) + "|",
    ]
    for name, entry in _rows(record):
        lines.append(f"| {markdown_text(name)} | {' | '.join(column.text(entry) for column in table)} |")
    lines += ["", *(f"- {markdown_text(note)}" for note in notes(record)), ""]
    lines += [f"![PSNR against cost]({name})\n" for name in plot_files(record)]
    names = [name for name, _ in _rows(record)[:-1]]
    lines += [f"| image | bicubic dB | {' | '.join(f'{markdown_text(name)} dB' for name in names)} |"]
    lines += ["|---" + "|---:" * (len(names) + 1) + "|"]
    for row in record["images"]:
        figures = [row["bicubic_psnr"], *(scores["psnr"] for scores in row["models"])]
        lines.append(f"| {markdown_text(row['name'])} | {' | '.join(report.number(value, 3) for value in figures)} |")
    if record["skipped"]:
        lines += ["", "## Skipped", "", *(f"- {markdown_text(line)}" for line in record["skipped"])]
    return "\n".join([*lines, "", f"mobile-sr {__version__}", ""])


def _title(record: Mapping[str, Any]) -> str:
    names = short_names(record["models"])
    return f"{names[0]} compared with bicubic" if len(names) == 1 else f"{len(names)} models compared"


def _cards(record: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    rows = _rows(record)[:-1]
    yield ("main", *_best(record))
    yield "", f"{report.number(record['bicubic']['psnr'])} dB", "bicubic"
    for key, caption in (("drop", "smallest drop"), ("size", "smallest file, bytes"), ("time", "shortest time, ms")):
        column = next(column for column in COLUMNS if column.key == key)
        judged = rows[1:] if key == "drop" and record["has_reference"] else rows
        known = [(value, name, entry) for name, entry in judged if (value := column.value(entry)) is not None]
        if known:
            _, name, entry = min(known, key=lambda row: row[0])
            yield "", column.text(entry) + (" dB" if key == "drop" else ""), f"{caption}: {name}"
    worst = max(entry["colour_error"]["flat"] for _, entry in rows)
    yield "", f"{worst} levels", f"largest error on {len(flat_colours.COLOURS)} flat colours"


def _model_rows(record: Mapping[str, Any]) -> Iterator[str]:
    table = columns(record)
    for name, entry in _rows(record):
        figures = "".join(report.cell(column.text(entry), column.value(entry)) for column in table)
        yield f'<tr><td title="{html_text(entry.get("name", name))}">{html_text(name)}</td>{figures}</tr>'


def _image_rows(record: Mapping[str, Any]) -> Iterator[str]:
    for row in record["images"]:
        values = [row["bicubic_psnr"], *(scores["psnr"] for scores in row["models"])]
        best = max((value for value in values if value is not None), default=None)
        figures = "".join(report.cell(report.number(v), v, "best" if v is not None and v == best else "") for v in values)
        yield f"<tr><td>{html_text(row['name'])}</td>{figures}</tr>"


def panels(record: Mapping[str, Any], crop: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    """Returns [(label, [H, W, 3] uint8, caption)] of the HR image, bicubic and every model for one crop."""
    named = [("HR", crop["hr"], "HR")]
    scores = [("bicubic", crop["row"]["bicubic_psnr"])]
    scores += [(name, s["psnr"]) for (name, _), s in zip(_rows(record)[:-1], crop["row"]["models"], strict=True)]
    for (name, psnr), image in zip(scores, [crop["bicubic"], *crop["outputs"]], strict=True):
        named.append((name, image, f"{name}, {report.number(psnr)} dB"))
    return named


def _crop_strip(record: Mapping[str, Any], crop: Mapping[str, Any]) -> str:
    left, top, width, height = crop["window"]
    part = (slice(top, top + height), slice(left, left + width))
    title = f"{crop['row']['name']}: {width}x{height} pixels at ({left}, {top})"
    cut = [(label, image[part], caption) for label, image, caption in panels(record, crop)]
    return viewer.crops(crop["row"]["name"], title, cut)


def _figures(record: Mapping[str, Any]) -> Iterator[str]:
    """The last two plots, which fit side by side, each for wide and for narrow screens; the style sheet shows one of them."""
    for class_name, width in (("wide", plots.WIDE), ("narrow", plots.NARROW)):
        for svg in list(plot_files(record, width).values())[-2:]:
            yield f'<figure class="{class_name}">{svg}</figure>'


def page(record: Mapping[str, Any], crops: Sequence[Mapping[str, Any]]) -> str:
    """Returns the report as one HTML page that loads nothing from elsewhere."""
    views = [viewer.View(crop["row"]["name"], panels(record, crop), crop["window"]) for crop in crops]
    names = [name for name, _ in _rows(record)[:-1]]
    rows = _rows(record)[:-1]
    best = max(rows, key=lambda row: -math.inf if row[1]["psnr"] is None else row[1]["psnr"])[0]
    body = templates.fill(
        "models.html",
        cards=report.cards(_cards(record)),
        headings=report.cells("th", ["model", *(column.heading for column in columns(record))]),
        rows="".join(_model_rows(record)),
        notes="".join(f"<li>{html_text(note)}</li>" for note in notes(record)),
        plots="".join(_figures(record)),
        viewer=viewer.section(views, "bicubic", best),
        strips="".join(_crop_strip(record, crop) for crop in crops),
        colours=viewer.colours([(name, entry["colour_error"]) for name, entry in rows]),
        image_headings=report.cells("th", ["image", "bicubic dB", *(f"{name} dB" for name in names)]),
        image_rows="".join(_image_rows(record)),
        files="".join(report.file_section(name, entry) for name, entry in rows),
        skipped=report.skipped(record),
    )
    about = f"{record['data']}, x{record['scale']}. Protocol: {metrics.describe(record['protocol'])}."
    return report.document(_title(record), about, body)


def write(out: str | Path, record: Mapping[str, Any], crops: Sequence[Mapping[str, Any]]) -> Path:
    """Write report.html, .md and .json, models.csv, images.csv, psnr_*.svg and contact_sheet.png.

    Args:
        out: folder to write to; it is created.
        record, crops: from `compare_models.compare_models`.
    Returns: the path of report.html.
    Raises: UserError when `out` cannot be a folder.
    """
    folder = make_folder(out)
    write_json(folder / "report.json", record)
    write_text(folder / "report.md", markdown(record))
    for name, content in (csv_files(record) | plot_files(record)).items():
        write_text(folder / name, content)
    rows = []
    for crop in crops:
        left, top, width, height = crop["window"]
        part = (slice(top, top + height), slice(left, left + width))
        rows.append((crop["row"]["name"], [(caption, image[part]) for _, image, caption in panels(record, crop)]))
    write_bytes(folder / "contact_sheet.png", encode_image(contact_sheet.draw(rows), ".png"))
    write_text(folder / "report.html", page(record, crops))
    return folder / "report.html"
