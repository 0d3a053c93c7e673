"""Drop report (float against quantized) as Markdown, JSON and a self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mobile_sr import __version__
from mobile_sr.adadsr import depth_report
from mobile_sr.converters.printable import html_text, markdown_text
from mobile_sr.evaluation import templates, viewer
from mobile_sr.files import make_folder, write_json, write_text
from mobile_sr.imaging import flat_colours, metrics

# Modules that show the details of `Upscaler.with_details`. Their functions lines(report), legend(report) and
# figure(crop, data_url) return nothing for reports without such details.
EXTENSIONS = (depth_report,)
_KINDS = (("hr", "HR"), ("bicubic", "bicubic"), ("reference", "reference"), ("model", "model"), ("difference", "difference"))


def write(
    out: str | Path, report: Mapping[str, Any], crops: Sequence[Mapping[str, Any]], appendix: tuple[str, str] = ("", "")
) -> Path:
    """Write report.json, report.md and report.html and return the path of the HTML page.

    Args:
        out: folder to write to; it is created.
        report, crops: from `compare.compare`.
        appendix: (HTML, Markdown) of further sections, such as those of `layer_report`.
    Raises: UserError when `out` cannot be a folder.
    """
    folder = make_folder(out)
    write_json(folder / "report.json", report)
    write_text(folder / "report.md", markdown(report) + (f"\n{appendix[1]}" if appendix[1] else ""))
    write_text(folder / "report.html", page(report, crops, appendix[0]))
    return folder / "report.html"


def number(value: float | None, digits: int = 2) -> str:
    """Returns a figure as text: a dash for None (image too small), "equal" for infinity (the PSNR of equal images)."""
    if value is None:
        return "-"
    return "equal" if math.isinf(value) else f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0 turns -0.0 into 0.0


def title(side: Mapping[str, Any], short: bool = False) -> str:
    """Returns the name of a model of a report, and the virtual device that ran it: 'NAME on DEVICE'.

    Args:
        side: report["model"] or report["reference"].
        short: without the folder of a file.
    """
    name = Path(side["name"]).name if short else side["name"]
    return f"{name} on {side['device']}" if "device" in side else name


def gain(side: Mapping[str, Any]) -> str:
    """Returns the gain of a model over bicubic as text, such as '+2.17 dB'; a dash without one."""
    return "-" if side["gain_db"] is None else f"{side['gain_db']:+.2f} dB"


def _title(report: Mapping[str, Any]) -> str:
    return f"{title(report['model'], short=True)} against {title(report['reference'], short=True)}"


def _rows(report: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for row in report["images"]:
        yield (
            row["name"],
            number(row["bicubic_psnr"]),
            number(row["reference_psnr"]),
            number(row["model_psnr"]),
            number(row["drop_db"], 3),
            number(row["reference_ssim"], 4),
            number(row["model_ssim"], 4),
            f"{row['differing_pixels']:.1%}",
            str(row["largest_difference"]),
        )


def _mean_row(report: Mapping[str, Any]) -> tuple[str, ...]:
    reference, model = report["reference"], report["model"]
    return (
        f"mean of {len(report['images'])}",
        number(report["bicubic"]["psnr"]),
        number(reference["psnr"]),
        number(model["psnr"]),
        number(report["drop_db"], 3),
        number(reference["ssim"], 4),
        number(model["ssim"], 4),
        "",
        "",
    )


_HEADINGS = (
    "image",
    "bicubic dB",
    "reference dB",
    "model dB",
    "drop dB",
    "reference SSIM",
    "model SSIM",
    "changed",
    "max change",
)


def _sides(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str, dict[str, Any] | None]]:
    """(key, name, size as text, start of the SHA-256, audit facts) of both models."""
    for key in ("reference", "model"):
        side = report[key]
        size = f"{side['size_bytes']:,} bytes" if "size_bytes" in side else ""
        yield key, title(side), size, side.get("sha256", "")[:16], side.get("audit")


def _colour_lines(report: Mapping[str, Any]) -> list[str]:
    """The errors of both models on flat colours and ramps, which PSNR on natural images does not show."""
    return [f"{key}: {flat_colours.describe(report[key]['colour_error'])}" for key in ("reference", "model")]


def _audit_lines(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    ops = ", ".join(f"{name} {count}" for name, count in facts["ops"].items())
    yield "operators", ops
    yield "XNNPACK partitions", str(facts["partitions"])
    for key in ("inputs", "outputs"):
        for t in facts[key]:
            quantization = f", scale {t['scale']:.9g}, zero point {t['zero_point']}" if t["scale"] is not None else ""
            yield key[:-1], f"{t['dtype']} {t['shape']}{quantization}"


def markdown(report: Mapping[str, Any]) -> str:
    """Returns the report as Markdown text."""
    lines = [
        f"# {markdown_text(_title(report))}",
        "",
        f"Gain over bicubic: **{gain(report['model'])}**. Drop: **{number(report['drop_db'], 3)} dB**.",
        "",
        f"PSNR on {markdown_text(report['data'])} (x{report['scale']}): "
        f"{number(report['reference']['psnr'])} -> {number(report['model']['psnr'])} dB; "
        f"bicubic {number(report['bicubic']['psnr'])} dB.",
        "",
        f"Protocol: {metrics.describe(report['protocol'])}.",
        "",
        *(f"- {line}" for line in _colour_lines(report)),
        "",
        *(line for extension in EXTENSIONS for line in extension.lines(report)),
        "| " + " | ".join(_HEADINGS) + " |",
        "|---" + "|---:" * (len(_HEADINGS) - 1) + "|",
    ]
    lines += ["| " + " | ".join(map(markdown_text, row)) + " |" for row in (*_rows(report), _mean_row(report))]
    lines += ["", "## Files", ""]
    for key, name, size, digest, facts in _sides(report):
        lines.append(f"- {key}: {markdown_text(name)} {size}{', SHA-256 ' + digest + '...' if digest else ''}")
        if facts:
            lines += [f"  - {what}: {markdown_text(text)}" for what, text in _audit_lines(facts)]
            lines += [
                f"  - audit: {markdown_text(c['check'])}: {'passed' if c['passed'] else 'FAILED'}"
                for c in facts.get("checks", [])
            ]
    if report["skipped"]:
        lines += ["", "## Skipped", ""] + [f"- {markdown_text(line)}" for line in report["skipped"]]
    return "\n".join([*lines, "", f"mobile-sr {__version__}", ""])


def cells(tag: str, values: Iterable[str]) -> str:
    """Returns HTML cells, 'th' or 'td', with texts."""
    return "".join(f"<{tag}>{html_text(value)}</{tag}>" for value in values)


def cell(text: str, value: float | None, kind: str = "") -> str:
    """Returns an HTML cell of a sortable table.

    Args:
        text: what it shows.
        value: the number to sort by; None sorts last.
        kind: CSS class.
    """
    key = "" if value is None else repr(value) if math.isfinite(value) else "Infinity"
    return f'<td{f" class={kind}" if kind else ""} data-value="{key}">{html_text(text)}</td>'


def _captions(crop: Mapping[str, Any]) -> dict[str, str]:
    row = crop["row"]
    return {
        "hr": "HR",
        "bicubic": f"bicubic, {number(row['bicubic_psnr'])} dB",
        "reference": f"reference, {number(row['reference_psnr'])} dB",
        "model": f"model, {number(row['model_psnr'])} dB",
        "difference": f"|model - reference| x {crop['amplified']}",
    }


def _strip(crop: Mapping[str, Any]) -> str:
    row, (left, top, width, height) = crop["row"], crop["window"]
    captions = _captions(crop)
    panels = [(label, crop["images"][key], captions[key]) for key, label in _KINDS]
    title = f"{row['name']}: drop {number(row['drop_db'], 3)} dB; {width}x{height} pixels at ({left}, {top})"
    more = [extension.figure(crop, viewer.data_url) for extension in EXTENSIONS]
    return viewer.crops(row["name"], title, panels, [figure for figure in more if figure])


def _viewer(crops: Sequence[Mapping[str, Any]]) -> str:
    views = []
    for crop in crops:
        captions = _captions(crop)
        panels = [(label, crop["whole"][key], captions[key]) for key, label in _KINDS if key in crop["whole"]]
        views.append(viewer.View(crop["row"]["name"], panels, crop["window"]))
    return viewer.section(views, "bicubic", "model")


def _table_row(row: Mapping[str, Any], texts: Sequence[str]) -> str:
    keys = ("bicubic_psnr", "reference_psnr", "model_psnr", "drop_db", "reference_ssim", "model_ssim", "differing_pixels")
    values = [*(row[key] for key in keys), float(row["largest_difference"])]
    return f"<tr>{cells('td', texts[:1])}{''.join(map(cell, texts[1:], values))}</tr>"


def file_section(key: str, side: Mapping[str, Any]) -> str:
    """Returns the size, hash and audit of one file as HTML.

    Args:
        key: what the model is, such as 'reference'.
        side: its entry in a report.
    """
    size = f"{side['size_bytes']:,} bytes" if "size_bytes" in side else ""
    return _file_section(key, title(side), size, side.get("sha256", "")[:16], side.get("audit"))


def _file_section(key: str, name: str, size: str, digest: str, facts: Mapping[str, Any] | None) -> str:
    title = f'<p class="files"><b>{html_text(key)}</b>: <code>{html_text(name)}</code> {size}'
    title += f', SHA-256 <code title="first 16 digits">{digest}</code></p>' if digest else "</p>"
    if not facts:
        return title
    lines = "".join(f"<tr>{cells('td', line)}</tr>" for line in _audit_lines(facts))
    lines += "".join(
        f"<tr><td>audit: {html_text(c['check'])}</td>"
        f'<td class="{"ok" if c["passed"] else "no"}">{"passed" if c["passed"] else "FAILED"}</td></tr>'
        for c in facts.get("checks", [])
    )
    return f'{title}<div class="scroll"><table class="facts">{lines}</table></div>'


def document(title: str, about: str, body: str) -> str:
    """Returns a complete HTML page that loads nothing from elsewhere.

    Args:
        title: heading, as text.
        about: paragraph below the heading, as text.
        body: HTML of the content.
    """
    styles = {"report_css": templates.read("report.css"), "charts_css": templates.read("charts.css")}
    text = {"title": html_text(title), "about": html_text(about), "version": __version__}
    styles["report_js"] = templates.read("report.js")
    return templates.fill("document.html", **styles, **text, body=body) + "\n"


def cards(entries: Iterable[tuple[str, str, str]]) -> str:
    """Returns [(CSS class, figure, caption)] as a row of HTML cards."""
    boxes = (
        f'<div class="card {kind}"><b>{html_text(figure)}</b><span>{html_text(caption)}</span></div>'
        for kind, figure, caption in entries
    )
    return f'<div class="cards">{"".join(boxes)}</div>'


def files(report: Mapping[str, Any]) -> str:
    """Returns the sizes, hashes and audits of the two files as HTML."""
    return "".join(_file_section(*side) for side in _sides(report))


def skipped(report: Mapping[str, Any]) -> str:
    """Returns the list of skipped files as an HTML section; '' when there are none."""
    lines = "".join(f"<li>{html_text(line)}</li>" for line in report["skipped"])
    return f"<h2>Skipped</h2><ul>{lines}</ul>" if lines else ""


def page(report: Mapping[str, Any], crops: Sequence[Mapping[str, Any]], appendix: str = "") -> str:
    """Returns the report as one HTML page that loads nothing from elsewhere.

    Args:
        report, crops: from `compare.compare`.
        appendix: HTML of further sections.
    """
    reference, model = report["reference"], report["model"]
    entries = (
        ("main", gain(model), f"over bicubic: {title(model, short=True)}"),
        ("main", f"{number(report['drop_db'], 3)} dB", "PSNR lost against the reference"),
        ("", f"{number(reference['psnr'])} dB", f"reference: {title(reference, short=True)}"),
        ("", f"{number(model['psnr'])} dB", f"model: {title(model, short=True)}"),
        ("", f"{number(report['bicubic']['psnr'])} dB", "bicubic"),
        ("", number(report["ssim_drop"], 4), "SSIM lost"),
        ("", f"{model['colour_error']['flat']} levels", "model: largest error on 27 flat colours"),
    )
    body = templates.fill(
        "report.html",
        cards=cards(entries),
        viewer=_viewer(crops),
        colours=viewer.colours([(key, report[key]["colour_error"]) for key in ("reference", "model")]),
        legends="".join(extension.legend(report) for extension in EXTENSIONS),
        strips="".join(_strip(crop) for crop in crops),
        headings=cells("th", _HEADINGS),
        rows="".join(map(_table_row, report["images"], _rows(report))),
        mean_row=cells("td", _mean_row(report)),
        appendix=appendix,
        files=files(report),
        skipped=skipped(report),
    )
    about = f"{report['data']}, x{report['scale']}. Protocol: {metrics.describe(report['protocol'])}."
    return document(_title(report), about, body)
