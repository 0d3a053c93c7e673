"""Writes docs/results.md and its plots from the zoo's cards: `python -m mobile_sr.zoo.results docs`.

With `--time` before `docs` the host's times are measured anew; without, those of the last measurement, host.json, are used, and
the page comes out the same bit for bit.
"""

import csv
import sys

from mobile_sr import benchmark, files, plots, zoo
from mobile_sr.zoo import published

_HOST = zoo.FOLDER / "host.json"
_SIZE = 180, 320  # LR (H, W) that is timed
_RUNS = 20
_PLOTTED = "Set14"


def measure():
    """Write host.json: CPU times of all entries' files, interleaved."""
    models = [f"{name}:{variant}" for name in zoo.names() for variant in zoo.VARIANTS]
    report = benchmark.benchmark(models, _SIZE, 1, _RUNS)
    times = {row["model"]: round(row["cpu_ms"]["p50"], 1) for row in report["results"]}
    files.write_json(_HOST, {"environment": report["environment"], "cpu_ms_p50": times})


def page():
    """The Markdown of docs/results.md."""
    host = files.read_json(_HOST)
    return "\n".join(
        [_HEAD.format(**host["environment"]), *_overview(host), *(line for name in zoo.names() for line in _section(name)), ""]
    )


def pictures():
    """{file name: SVG} of the page's plots."""
    host, found = files.read_json(_HOST)["cpu_ms_p50"], {}
    place = zoo.SETS.index(_PLOTTED)
    for scale, own in _by_scale():
        costs = [(card["multiply_adds_720p"] / 1e9, card["scores"][_PLOTTED]["y"]["float32"], name) for name, card in own]
        papers = [(cost / 1e9, psnr[place], name) for name, _, _, cost, psnr in published.ROWS[scale]]
        title, psnr = f"{_PLOTTED}, x{scale}", "PSNR, dB (Y, float)"
        series = [("mobile-sr", costs, False), ("published", papers, False)]
        found[f"results_x{scale}.svg"] = plots.plot(title, "multiply-adds of a 1280x720 output, G", psnr, series, log_x=True)
    series = [
        (v, [(host[f"{n}:{v}"], zoo.entry(n)["scores"][_PLOTTED]["y"][v], n) for n in zoo.names()], False) for v in zoo.VARIANTS
    ]
    label = f"CPU time of {_SIZE[1]}x{_SIZE[0]} LR pixels, ms"
    found["results_time.svg"] = plots.plot(f"{_PLOTTED}, all scales", label, "PSNR, dB (Y)", series, log_x=True)
    return found


def table():
    """The lines of README's table: what each entry scores before and after quantization."""
    lines = ["| Y, float32 -> uint8 (drop) | parameters | Mult-Adds | " + " | ".join(zoo.SETS) + " |"]
    lines.append("|---" * (3 + len(zoo.SETS)) + "|")
    for _, own in _by_scale():
        for name, card in own:
            cells = [name, f"{card['parameters']:,}", f"{card['multiply_adds_720p'] / 1e9:.2f}G", *_psnr(card)]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _by_scale():
    """[(scale, [(name, card)] by cost)]"""
    cards = {name: zoo.entry(name) for name in zoo.names()}
    found = {}
    for name in sorted(cards, key=lambda name: cards[name]["multiply_adds_720p"]):
        found.setdefault(cards[name]["config"]["scale"], []).append((name, cards[name]))
    return sorted(found.items())


def _psnr(card):
    both = [card["scores"][s]["y"] for s in zoo.SETS]
    return [f"{y['float32']:.2f} -> {y['uint8']:.2f} ({y['float32'] - y['uint8']:.3f})" for y in both]


def _overview(host):
    """All entries beside the papers' rows, by scale."""
    for scale, own in _by_scale():
        yield f"\n## x{scale}\n"
        yield "| | parameters | Mult-Adds, G | " + " | ".join(zoo.SETS) + " | KiB | CPU, ms |"
        yield "|---" * (5 + len(zoo.SETS)) + "|"
        for name, card in own:
            sizes = [f"{zoo.resolve(f'{name}:{variant}').stat().st_size / 1024:.0f}" for variant in zoo.VARIANTS]
            times = [f"{host['cpu_ms_p50'][f'{name}:{variant}']:.1f}" for variant in zoo.VARIANTS]
            cells = [f"**{name}**", f"{card['parameters']:,}", f"{card['multiply_adds_720p'] / 1e9:.2f}", *_psnr(card)]
            yield f"| {' | '.join([*cells, ' -> '.join(sizes), ' -> '.join(times)])} |"
        for name, source, parameters, cost, psnr in published.ROWS[scale]:
            cells = [f"{name} ({source})", f"{parameters:,}", f"{cost / 1e9:.2f}"]
            yield f"| {' | '.join([*cells, *(f'{value:.2f}' for value in psnr), '', ''])} |"
        yield f"\n![PSNR against multiply-adds, x{scale}](results_x{scale}.svg)"
    yield "\n![PSNR against time, all scales](results_time.svg)"


def _section(name):
    card = zoo.entry(name)
    training = card["training"]
    yield f"\n## {name}\n"
    yield "| | " + " | ".join(f"{s} Y | {s} RGB" for s in card["scores"]) + " |"
    yield "|---" * (1 + 2 * len(card["scores"])) + "|"
    for variant in zoo.VARIANTS:
        cells = (f"{s[space][variant]:.2f}" for s in card["scores"].values() for space in ("y", "rgb"))
        yield f"| {variant} .tflite | " + " | ".join(cells) + " |"
    drops = (s[space]["float32"] - s[space]["uint8"] for s in card["scores"].values() for space in ("y", "rgb"))
    yield "| drop | " + " | ".join(f"{d:.3f}" for d in drops) + " |"
    ssim = ", ".join(f"{s} {v['ssim_y']['float32']:.4f} -> {v['ssim_y']['uint8']:.4f}" for s, v in card["scores"].items())
    yield f"\nSSIM (Y), float32 -> uint8: {ssim}.\n"
    yield f"Training: {training['note']}"
    recipes = ", then ".join(f"`{s['recipe']['name']}` ({s['recipe']['steps']:,} steps)" for s in training["stages"])
    yield f"Recipe: {recipes}; best at step {training['best_step']:,}.\n"
    rows = list(csv.DictReader((zoo.FOLDER / training["log"]).open()))
    every = max(1, len(rows) // 10)
    picked = [row for k, row in enumerate(rows, 1) if k in (1, len(rows)) or k % every == 0]
    yield f"Validation PSNR over steps (RGB, x{card['config']['scale']}, held-out training images):\n"
    yield "| steps | " + " | ".join(f"{int(r['step']):,}" for r in picked) + " |"
    yield "|---" * (len(picked) + 1) + "|"
    yield "| dB | " + " | ".join(f"{float(r['validation_psnr_rgb']):.3f}" for r in picked) + " |"


_HEAD = """# Results

Written by `python -m mobile_sr.zoo.results docs` from the zoo's cards, which `python -m mobile_sr.zoo.pack` measured. PSNR in
dB under the protocol of [protocol.md](protocol.md), float32 -> uint8 (drop). The uint8 files are export's default
([quantization.md](quantization.md)): equalized, rounded by the inputs, calibrated on scikit-image's pictures, not trained;
uint8 in and out. Validation images were held out of the training images; test sets chose nothing. Our training images are 590
of BSDS500, T91 and General-100; two thirds are BSDS500's, the source of B100 too (no image is in both): that favours the B100
columns. The papers trained on DIV2K's 800 (XLSR 500,000 steps, FGNAS 2,000,000) and print floats.

Parameters and multiply-adds, the latter of a 1280x720 output, are of the Keras network. Times: CPU ms of {width}x{height} LR
pixels, {threads} thread, {cpu}, median of {runs} interleaved rounds; of AdaDSR's networks with all blocks."""


def main(folder, time_anew=False):
    """Write results.md and its plots into `folder`."""
    if time_anew:
        measure()
    folder = files.make_folder(folder)
    files.write_text(folder / "results.md", page())
    for name, picture in pictures().items():
        files.write_text(folder / name, picture)


if __name__ == "__main__":
    main(sys.argv[-1], "--time" in sys.argv[1:-1])
