"""The scoreboard as a table for the terminal and as a Markdown page with scatter plots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mobile_sr.challenge import rules
from mobile_sr.challenge.scoreboard import BASELINE, RULES
from mobile_sr.converters.printable import markdown_text, printable
from mobile_sr.evaluation import plots
from mobile_sr.files import make_folder, write_json, write_text
from mobile_sr.imaging import metrics

_TEST = "test, dB"  # heading of a column that only boards with a test set have
_COLUMNS = (
    ("network", lambda row: row["name"]),
    ("PSNR, dB", lambda row: "untrained" if row["weights"] == "untrained" else _number(row["psnr"], ".2f")),
    (_TEST, lambda row: _number(row.get("psnr_test"), ".2f")),
    ("published", lambda row: _number(row["published_db"], ".2f")),
    ("runtime, ms", lambda row: f"{row['runtime_ms']:.0f}"),
    ("parameters", lambda row: f"{row['parameters']:,}"),
    ("script FLOPs, G", lambda row: f"{row['script_flops'] / 1e9:.3f}"),
    ("multiply-adds, G", lambda row: f"{row['multiply_adds'] / 1e9:.3f}"),
    ("activations, M", lambda row: f"{row['activations'] / 1e6:.3f}"),
    ("memory, MB", lambda row: _number(row["memory_bytes"] and row["memory_bytes"] / 1e6, ".0f")),
    ("conv", lambda row: f"{row['convolutions']}"),
    ("main", lambda row: _place(row, "main")),
    ("sub-track 1", lambda row: _place(row, "complexity")),
    ("sub-track 2", lambda row: _place(row, "overall")),
)
_RUNTIME = ("runtime_ms", 1, "runtime, ms")  # of an axis: key of a row, unit, label
_PLOTS = (
    ("psnr", "PSNR against runtime", _RUNTIME, ("psnr", 1, "PSNR, dB")),
    ("multiply_adds", "Runtime against multiply-adds", ("multiply_adds", 1e9, "multiply-adds, G"), _RUNTIME),
    ("activations", "Runtime against activations", ("activations", 1e6, "activations, M"), _RUNTIME),
)
_HEAD = """# Scoreboard, x{scale}

Written by `mobile-sr models --scoreboard`; the measures and tracks of the NTIRE 2022 efficient super-resolution
challenge (Li et al., CVPRW 2022).

"""

_PUBLISHED = """## Published measures, for reference

Table 1 of the report: times on a Titan Xp GPU in PyTorch, not comparable with those above. A team is ranked if it reaches
28.95 dB on DIV2K's validation set and 28.65 dB on its test set.

Parameters, activations and memory in millions, FLOPs in thousands of millions, PSNR in dB, runtime in ms.

| team | validation | test | runtime | parameters | FLOPs | activations | memory | conv | main | sub-track 1 | sub-track 2 |
|---|---|---|---|---|---|---|---|---|---|---|---|"""


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def _place(row: Mapping[str, Any], track: str) -> str:
    """The place by the script's FLOPs, followed by the place by true multiply-adds if it differs."""
    script, true = (row["places"][count] for count in ("script", "true"))
    if script is None:
        return "-"
    return f"{script[track]}" + ("" if true[track] == script[track] else f" ({true[track]})")


def _cells(result: Mapping[str, Any]) -> list[list[str]]:
    rows = sorted(result["rows"], key=lambda row: (not row["enters"], row["runtime_ms"]))
    columns = [column for column in _COLUMNS if column[0] != _TEST or result.get("test_set")]
    return [[heading for heading, _ in columns], *([cell(row) for _, cell in columns] for row in rows)]


def notes(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines that explain the figures of the table.

    Args:
        result: from `scoreboard.measure`, as for the other functions of this module.
    """
    where = result["environment"]
    size = f"{where['width']}x{where['height']}"
    yield (
        f"Runtime: median of {where['runs']} interleaved rounds of the float32 .tflite files, {size} LR, {where['threads']} "
        f"thread(s), on this machine ({where['cpu']}); memory: peak of a process that runs the file."
    )
    yield "Ranks use the FLOPs of the challenge's script; if true multiply-adds give another rank, it follows in brackets."
    if result["set"] is None and result.get("test_set") is None:
        yield "No PSNR was measured (--data); all networks are ranked."
        return
    if test := result.get("test_set"):
        least = result["test_gate_db"]
        gate = f"networks below {least:.2f} dB are not ranked" if least is not None else f"no gate without {BASELINE}"
        yield f"Test set, the second half of the gate: {test}; {gate}."
    if result["set"] is None:
        return
    published_known = any(row["published_db"] is not None for row in result["rows"])
    published = " Published: Table 1 of the report, on DIV2K's validation set." if published_known else ""
    yield f"PSNR on {result['set']}: {metrics.describe(result['protocol'])}.{published}"
    if result["gate_db"] is None:
        yield f"No gate: the baseline {BASELINE} is not on the board with weights, and --gate was not given."
    else:
        yield f"Networks below {result['gate_db']:.2f} dB are not ranked; networks without weights are ranked by their cost."


def text(result: Mapping[str, Any]) -> str:
    """Returns the table and its notes as text for a terminal."""
    cells = _cells(result)
    widths = [max(len(line[k]) for line in cells) for k in range(len(cells[0]))]
    lines = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in cells]
    return "\n".join(map(printable, [*lines, *notes(result)]))


def published_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the published table of 2022 in Markdown with the places that the rules give.

    Args:
        rows: from `rules.published`.
    """
    lines = [_PUBLISHED]
    teams = [row for row in rows if row["team"] not in rules.COMPARED]
    ranked = {row["team"]: found for row, found in zip(teams, RULES.rank(teams), strict=True)}
    for row in rows:
        found = ranked.get(row["team"])
        track = "| - | - | -" if found is None else "".join(f"| {found[name]} " for name in RULES.tracks)
        psnr = f"{row['psnr_validation']:.2f} | {row['psnr_test']:.2f}"
        cost = f"{row['runtime_ms']:.2f} | {row['parameters'] / 1e6:.3f} | {row['flops'] / 1e9:.2f}"
        further = f"{row['activations'] / 1e6:.2f} | {row['memory'] / 1e6:.2f} | {row['convolutions']}"
        lines.append(f"| {row['team']} | {psnr} | {cost} | {further} {track.rstrip()} |")
    return "\n".join(lines)


def write(folder: str | Path, result: Mapping[str, Any], name: str = "scoreboard") -> Path:
    """Write NAME.md, NAME.json and NAME_*.svg into `folder` and return the path of the Markdown page.

    Raises: UserError when `folder` cannot be a folder.
    """
    out = make_folder(folder)
    images = []
    for key, title, (x, x_unit, x_label), (y, y_unit, y_label) in _PLOTS:
        rows = [row for row in result["rows"] if row[x] is not None and row[y] is not None]
        if rows:
            points = [(row[x] / x_unit, row[y] / y_unit, row["name"]) for row in rows]
            svg = plots.plot(f"{title}, x{result['scale']}", x_label, y_label, [("", points, False)])
            write_text(out / f"{name}_{key}.svg", svg)
            images.append(f"![{title}]({name}_{key}.svg)")
    write_json(out / f"{name}.json", result)
    cells = _cells(result)
    table = [f"| {' | '.join(map(markdown_text, line))} |" for line in cells]
    table.insert(1, "|---" * len(cells[0]) + "|")
    explanations = "\n".join(f"- {markdown_text(note)}" for note in notes(result))
    page = out / f"{name}.md"
    parts = [_HEAD.format(**result) + "\n".join(table), explanations, *images]
    if result.get("published"):
        parts.append(published_table(result["published"]))
    write_text(page, "\n\n".join(parts) + "\n")
    return page
