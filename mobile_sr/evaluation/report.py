"""Writes the drop-vs-fp32 report as Markdown, JSON and one self-contained HTML file."""

import base64
import math
from pathlib import Path

from mobile_sr import __version__
from mobile_sr.adadsr import depth_map
from mobile_sr.converters.printable import html_text, markdown_text
from mobile_sr.evaluation import charts
from mobile_sr.files import make_folder, write_json, write_text
from mobile_sr.imaging import flat_colours, metrics
from mobile_sr.imaging.images import encode_image

_KINDS = (("hr", "HR"), ("bicubic", "bicubic"), ("reference", "reference"), ("model", "model"), ("difference", "difference"))

_STYLE = """
:root { --ink: #1c2430; --soft: #5c6675; --line: #d9dee6; --back: #ffffff; --panel: #f5f7fa; --mark: #0b6bcb; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ecf2; --soft: #9aa5b5; --line: #333c49; --back: #14181f;
  --panel: #1d232c; --mark: #6cb4ff; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1160px; padding: 32px 24px 64px; color: var(--ink); background: var(--back);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 36px 0 10px; }
p.soft, td.soft, figcaption { color: var(--soft); } p { margin: 4px 0 12px; }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0; }
.card { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; padding: 12px 18px; min-width: 150px; }
.card b { display: block; font-size: 24px; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: 13px; }
.card.main b { color: var(--mark); }
.scroll { overflow-x: auto; }
.files { margin-top: 22px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 5px 9px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } thead th { color: var(--soft); font-weight: 600; }
tfoot td { font-weight: 700; border-bottom: none; }
.strip { display: grid; grid-template-columns: repeat(5, 1fr); gap: 8px; margin: 6px 0 22px; }
figure { margin: 0; } figure img { width: 100%; display: block; border-radius: 4px; image-rendering: pixelated; }
figcaption { font-size: 13px; text-align: center; padding-top: 3px; }
.strip.depths { grid-template-columns: repeat(5, 1fr) 1.6fr; }
@media (max-width: 640px) { .strip, .strip.depths { grid-template-columns: repeat(2, 1fr); } }
.heat { position: relative; margin: 0 auto; } .heat img { image-rendering: auto; }
.heat i { position: absolute; border: 2px solid #fff; outline: 1px solid #000; }
.legend { white-space: nowrap; }
.scale { display: inline-block; width: 160px; height: 12px; border-radius: 3px; border: 1px solid var(--line); margin: 0 6px; }
.ok { color: #1b7f3b; } .no { color: var(--bad); font-weight: 700; }
@media (prefers-color-scheme: dark) { .ok { color: #6fd08c; } }
code { background: var(--panel); padding: 1px 5px; border-radius: 4px; }
table.narrow { width: auto; } tr.no td { color: var(--bad); }
table.layers { font-size: 13.5px; } table.layers th, table.layers td { padding: 4px 7px; }
table.layers td:nth-child(2), table.layers th:nth-child(2) { text-align: left; }
ol.worst-layers li { margin-bottom: 6px; } ul.legend { color: var(--soft); font-size: 13px; padding-left: 20px; }
"""


def write(out, report, crops, appendix=("", "")):
    """Write report.json, report.md and report.html into `out`; returns the path of the HTML file.

    Args:
        appendix: (HTML, Markdown) of further sections, such as layer_report's.
    """
    out = make_folder(out)
    write_json(out / "report.json", report)
    write_text(out / "report.md", markdown(report) + (f"\n{appendix[1]}" if appendix[1] else ""))
    write_text(out / "report.html", page(report, crops, appendix[0]))
    return Path(out) / "report.html"


def number(value, digits=2):
    """A figure for people; a dash when there is none (image too small), "equal" for the PSNR of equal images."""
    if value is None:
        return "-"
    return "equal" if math.isinf(value) else f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0 turns -0.0 into 0.0


def _title(report):
    return f"{Path(report['model']['name']).name} against {Path(report['reference']['name']).name}"


def _depth_text(report):
    depth = report["depth"]
    means = f"mean {number(depth['mean'])} of {depth['deepest']:g} blocks, desired {number(depth['desired'])}"
    return f"Depth of the {depth['of']}, over all images: {means}."


def _rows(report):
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


def _mean_row(report):
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


def _sides(report):
    for key in ("reference", "model"):
        side = report[key]
        size = f"{side['size_bytes']:,} bytes" if "size_bytes" in side else ""
        yield key, side["name"], size, side.get("sha256", "")[:16], side.get("audit")


def _colour_lines(report):
    """What each side does to flat colours and ramps, which PSNR on natural images does not see."""
    return [f"{key}: {flat_colours.describe(report[key]['colour_error'])}" for key in ("reference", "model")]


def _audit_lines(facts):
    ops = ", ".join(f"{name} {count}" for name, count in facts["ops"].items())
    yield "operators", ops
    yield "XNNPACK partitions", str(facts["partitions"])
    for end in ("inputs", "outputs"):
        for t in facts[end]:
            quantization = f", scale {t['scale']:.9g}, zero point {t['zero_point']}" if t["scale"] is not None else ""
            yield end[:-1], f"{t['dtype']} {t['shape']}{quantization}"


def markdown(report):
    """The report as Markdown text."""
    lines = [
        f"# {markdown_text(_title(report))}",
        "",
        f"Drop: **{number(report['drop_db'], 3)} dB** PSNR on {markdown_text(report['data'])} (x{report['scale']}): "
        f"{number(report['reference']['psnr'])} -> {number(report['model']['psnr'])} dB; "
        f"bicubic {number(report['bicubic']['psnr'])} dB.",
        "",
        f"Protocol: {metrics.describe(report['protocol'])}.",
        "",
        *(f"- {line}" for line in _colour_lines(report)),
        "",
        *((_depth_text(report), "") if "depth" in report else ()),
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


def _cells(tag, values):
    return "".join(f"<{tag}>{html_text(value)}</{tag}>" for value in values)


def _picture(image, kind="png"):
    return f"data:image/{kind};base64," + base64.b64encode(encode_image(image, "." + kind)).decode()


def _heat_map(crop):
    """The figure of the whole image's depths, with the crop's place; '' without depths."""
    if "heat_map" not in crop:
        return ""
    row, image = crop["row"], crop["heat_map"]
    (left, top, width, height), (rows, columns) = crop["place"], crop["size"]
    frame = f"left:{left / columns:.2%};top:{top / rows:.2%};width:{width / columns:.2%};height:{height / rows:.2%}"
    caption = f"depth: mean {number(row['depth']['mean'])}, desired {number(row['depth']['desired'])}"
    return (
        f'<figure><div class="heat" style="max-width:{165 * columns // rows}px"><img alt="{html_text(row["name"])}: depth" '
        f'src="{_picture(image, "jpeg")}"><i style="{frame}"></i></div><figcaption>{caption}</figcaption></figure>'
    )


def _depth_legend(report):
    if "depth" not in report:
        return ""
    bar = f'<span class="scale" style="background:{depth_map.css_gradient()}"></span>'
    return (
        f'<p class="soft">{_depth_text(report)}<br>The heat maps show it over the whole LR image and the crop\'s place: '
        f'<span class="legend">0 {bar} {report["depth"]["deepest"]:g} blocks</span></p>'
    )


def _strip(crop):
    row, place = crop["row"], crop["place"]
    captions = {
        "hr": "HR",
        "bicubic": f"bicubic, {number(row['bicubic_psnr'])} dB",
        "reference": f"reference, {number(row['reference_psnr'])} dB",
        "model": f"model, {number(row['model_psnr'])} dB",
        "difference": f"|model - reference| x {crop['amplified']}",
    }
    figures = "".join(
        f'<figure><img alt="{html_text(row["name"])}: {label}" src="{_picture(crop["pictures"][key])}">'
        f"<figcaption>{html_text(captions[key])}</figcaption></figure>"
        for key, label in _KINDS
    )
    title = f"{row['name']}: drop {number(row['drop_db'], 3)} dB; {place[2]}x{place[3]} pixels at ({place[0]}, {place[1]})"
    heat_map = _heat_map(crop)
    return f'<p><b>{html_text(title)}</b></p><div class="strip{" depths" if heat_map else ""}">{figures}{heat_map}</div>'


def _file_section(key, name, size, digest, facts):
    title = f'<p class="files"><b>{key}</b>: <code>{html_text(name)}</code> {size}'
    title += f', SHA-256 <code title="first 16 digits">{digest}</code></p>' if digest else "</p>"
    if not facts:
        return title
    lines = "".join(f"<tr>{_cells('td', line)}</tr>" for line in _audit_lines(facts))
    lines += "".join(
        f"<tr><td>audit: {html_text(c['check'])}</td>"
        f'<td class="{"ok" if c["passed"] else "no"}">{"passed" if c["passed"] else "FAILED"}</td></tr>'
        for c in facts.get("checks", [])
    )
    return f'{title}<div class="scroll"><table>{lines}</table></div>'


def document(title, about, body):
    """A whole HTML page that loads nothing from elsewhere: `title` and `about` are text, `body` is HTML."""
    title = html_text(title)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,"><title>{title}</title><style>{_STYLE}{charts.STYLE}</style></head><body>
<h1>{title}</h1>
<p class="soft">{html_text(about)}</p>
{body}
<p class="soft">Written by mobile-sr {__version__}.</p>
</body></html>
"""


def cards(entries):
    """[(CSS class, figure, what it is)] as HTML."""
    boxes = (f'<div class="card {c}"><b>{html_text(v)}</b><span>{html_text(t)}</span></div>' for c, v, t in entries)
    return f'<div class="cards">{"".join(boxes)}</div>'


def files(report):
    """The two files' sizes, hashes and audits as HTML."""
    return "".join(_file_section(*side) for side in _sides(report))


def page(report, crops, appendix=""):
    """The report as one HTML page that loads nothing from elsewhere; `appendix` is HTML of further sections."""
    reference, model = report["reference"], report["model"]
    entries = (
        ("main", f"{number(report['drop_db'], 3)} dB", "PSNR lost"),
        ("", f"{number(reference['psnr'])} dB", f"reference: {Path(reference['name']).name}"),
        ("", f"{number(model['psnr'])} dB", f"model: {Path(model['name']).name}"),
        ("", f"{number(report['bicubic']['psnr'])} dB", "bicubic"),
        ("", number(report["ssim_drop"], 4), "SSIM lost"),
        ("", f"{model['colour_error']['flat']} levels", "model: largest error on 27 flat colours"),
    )
    skipped = "".join(f"<li>{html_text(line)}</li>" for line in report["skipped"])
    colours = "".join(f'<p class="soft">{html_text(line)}</p>' for line in _colour_lines(report))
    body = f"""{cards(entries)}
{colours}
<h2>Where it shows: the images that lose most</h2>
{_depth_legend(report)}
{"".join(_strip(crop) for crop in crops)}
<h2>Every image</h2>
<div class="scroll"><table><thead><tr>{_cells("th", _HEADINGS)}</tr></thead>
<tbody>{"".join(f"<tr>{_cells('td', row)}</tr>" for row in _rows(report))}</tbody>
<tfoot><tr>{_cells("td", _mean_row(report))}</tr></tfoot></table></div>
{appendix}
<h2>Files and audit</h2>
{files(report)}
{f"<h2>Skipped</h2><ul>{skipped}</ul>" if skipped else ""}"""
    about = f"{report['data']}, x{report['scale']}. Protocol: {metrics.describe(report['protocol'])}."
    return document(_title(report), about, body)
