"""Writes docs/results.md and its plots from the zoo's cards: `python -m tools.zoo.results docs`.

With `--time` the host's times are measured anew, twice; without, those of the last measurement, host.json, are used, and the
page comes out the same bit for bit.
"""

import datetime
import textwrap

from mobile_sr import files, zoo
from mobile_sr.benchmarking import benchmark
from mobile_sr.errors import UserError
from mobile_sr.evaluation import plots
from mobile_sr.training.run_folder import read_history
from tools.zoo import command_line, published

_HOST = zoo.FOLDER / "host.json"
_SIZE = 180, 320  # LR (H, W) that is timed
_RUNS = 20
_PLOTTED = "Set14"
_DUPLICATES = 1  # among the training images, all exact: they were left out before anything was counted
_BOTH = "float32 -> uint8"


def _files():
    """What is timed: NAME:VARIANT of all entries."""
    return [f"{name}:{variant}" for name in zoo.names() for variant in zoo.VARIANTS]


def measure():
    """Write host.json: CPU times of all entries' files, interleaved, and the same once more, to tell what they are good for."""
    models = _files()
    first, again = (benchmark.benchmark(models, _SIZE, 1, _RUNS) for _ in range(2))
    found = {"environment": first["environment"]}
    for key, report in (("cpu_ms_p50", first), ("again_cpu_ms_p50", again)):
        found[key] = {row["model"]: round(row["cpu_ms"]["p50"], 1) for row in report["results"]}
    found["sha256"] = {model: files.sha256_file(zoo.resolve(model)) for model in models}
    files.write_json(_HOST, found)


def _host():
    """The last measurement. Raises: UserError when it is not of the files that the zoo has now."""
    host = files.read_json(_HOST)
    for model in _files():
        if host["sha256"].get(model) != files.sha256_file(zoo.resolve(model)):
            raise UserError(f"{_HOST}: has no times of the present file of {model}; measure them with --time")
    return host


def page():
    """The Markdown of docs/results.md."""
    host = _host()
    sections = (line for name in zoo.names() for line in _section(name))
    return "\n".join(["# Results", "", goal(), "", _head(), "", _times(host), *_overview(host), *sections, ""])


def goal():
    """The paragraph, of README too, that says what XLSR x3 reaches beside its paper."""
    card, paper = zoo.entry("xlsr_x3"), published.XLSR_X3.psnr
    y, rgb = [card["scores"][s]["y"] for s in zoo.SETS], card["scores"]["Set5"]["rgb"]
    ours = [round(score["float32"], 2) for score in y]
    above = " / ".join(f"{score - theirs:+.2f}" for score, theirs in zip(ours, paper, strict=True))
    drops = " / ".join(f"{score['float32'] - score['uint8']:.3f}" for score in y)
    return _paragraph(
        f"xlsr_x3 in float32 reaches {_list(ours)} dB on {' / '.join(zoo.SETS)} (x3, Y). XLSR's paper prints {_list(paper)}; "
        f"the difference is {above} dB. Ours was trained for {card['training']['steps']:,} steps on {_images()[2]} other "
        f"images, the paper's for 500,000 on DIV2K. The uint8 file loses {drops} dB of that. In RGB on Set5 it goes from "
        f"{rgb['float32']:.2f} to {rgb['uint8']:.2f} dB, a drop of **{rgb['float32'] - rgb['uint8']:.3f} dB**, where the paper "
        f"reports {published.XLSR_DROP} dB (x3, RGB, DIV2K's validation images)."
    )


def pictures():
    """{file name: SVG} of the page's plots."""
    host, found = _host()["cpu_ms_p50"], {}
    place = zoo.SETS.index(_PLOTTED)
    for scale, own in _by_scale():
        costs = [(card["multiply_adds_720p"] / 1e9, card["scores"][_PLOTTED]["y"]["float32"], name) for name, card in own]
        papers = [(row.cost / 1e9, row.psnr[place], row.name) for row in published.ROWS[scale] if row.cost]
        title, psnr = f"{_PLOTTED}, x{scale}", "PSNR, dB (Y, float)"
        series = [("mobile-sr", costs, False), ("published", papers, False)]
        found[f"results_x{scale}.svg"] = plots.plot(title, "multiply-adds of a 1280x720 output, G", psnr, series, log_x=True)
    places = {v: [(host[f"{n}:{v}"], zoo.entry(n)["scores"][_PLOTTED]["y"][v]) for n in zoo.names()] for v in zoo.VARIANTS}
    links = list(zip(*places.values(), strict=True))
    names = {"float32": zoo.names(), "uint8": [""] * len(links)}  # one label for the pair
    series = [(v, [(*p, n) for p, n in zip(places[v], names[v], strict=True)], False) for v in zoo.VARIANTS]
    title, label = f"{_PLOTTED}, all scales", f"CPU time of {_SIZE[1]}x{_SIZE[0]} LR pixels, ms"
    found["results_time.svg"] = plots.plot(title, label, "PSNR, dB (Y)", series, log_x=True, links=links)
    return found


def table():
    """The lines of README's table: what each entry scores before and after quantization."""
    lines = [f"| Y, {_BOTH} (drop) | parameters | Mult-Adds | " + " | ".join(zoo.SETS) + " |"]
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


def _images():
    """(given, held out, trained on): how many training images, the same for all entries."""
    stages = [stage["data"] for name in zoo.names() for stage in zoo.entry(name)["training"]["stages"]]
    found = {(data["images"], len(data["held_out"])) for data in stages}
    if len(found) > 1:
        raise UserError(f"the zoo's entries have other numbers of images (trained on, held out): {sorted(found)}")
    ((images, held_out),) = found
    return images + _DUPLICATES, held_out, images - held_out


def _paragraph(text):
    """The text in lines."""
    return textwrap.fill(" ".join(text.split()), 125, break_long_words=False, break_on_hyphens=False)


def _list(scores):
    return " / ".join(f"{score:.2f}" for score in scores)


def _number(value, form):
    return "" if value is None else f"{value:{form}}"


def _psnr(card):
    both = [card["scores"][s]["y"] for s in zoo.SETS]
    return [f"{y['float32']:.2f} -> {y['uint8']:.2f} ({y['float32'] - y['uint8']:.3f})" for y in both]


def _head():
    """How everything was measured, and on what was trained."""
    given, held_out, trained_on = _images()
    return _paragraph(_HEAD.format(given=given, held_out=held_out, trained_on=trained_on))


def _times(host):
    """Where and when the times were measured, and what they are good for."""
    where = host["environment"]
    date = datetime.datetime.fromisoformat(where["date"])
    text = (
        "Times: CPU ms of {width}x{height} LR pixels, {threads} thread, {cpu}, median of {runs} interleaved rounds, begun "
        "{begun:%Y-%m-%d %H:%M} UTC at a load average of {load_average[0]:.1f} on {cores} cores."
    ).format(begun=date, **where)
    times, again = host["cpu_ms_p50"], host["again_cpu_ms_p50"]
    ratios = {model: max(again[model], times[model]) / min(again[model], times[model]) for model in times}
    farthest = max(ratios, key=ratios.get)
    text += (
        f" A second run right after it differs by a factor of at most {ratios[farthest]:.2f} ({farthest}, "
        f"{times[farthest]:.1f} and {again[farthest]:.1f} ms). On another kind of processor the networks' ratios are others, "
        "too ([fgnas.md](fgnas.md))."
    )
    return _paragraph(text)


def _overview(host):
    """All entries beside the papers' rows, by scale."""
    for scale, own in _by_scale():
        yield f"\n## x{scale}\n"
        scores = " | ".join(f"{s}, {_BOTH} (drop)" for s in zoo.SETS)
        yield f"| | parameters | Mult-Adds, G | {scores} | colour error, {_BOTH} | KiB, {_BOTH} | CPU ms, {_BOTH} |"
        yield "|---" * (6 + len(zoo.SETS)) + "|"
        for name, card in own:
            sizes = [f"{zoo.resolve(f'{name}:{variant}').stat().st_size / 1024:.0f}" for variant in zoo.VARIANTS]
            times = [f"{host['cpu_ms_p50'][f'{name}:{variant}']:.1f}" for variant in zoo.VARIANTS]
            colours = " -> ".join(str(card["colour_error"][variant]["flat"]) for variant in zoo.VARIANTS)
            cells = [f"**{name}**", f"{card['parameters']:,}", f"{card['multiply_adds_720p'] / 1e9:.2f}", *_psnr(card), colours]
            yield f"| {' | '.join([*cells, ' -> '.join(sizes), ' -> '.join(times)])} |"
        rows = published.ROWS[scale]
        notes = [row.note for row in rows if row.note]
        for row in rows:
            mark = f" <sup>{notes.index(row.note) + 1}</sup>" if row.note else ""
            cost = row.cost and row.cost / 1e9
            cells = [f"{row.name}{mark} ({row.source})", _number(row.parameters, ","), _number(cost, ".2f")]
            yield f"| {' | '.join([*cells, *(_number(value, '.2f') for value in row.psnr), '', '', ''])} |"
        for text in (*(f"<sup>{k}</sup> {note}" for k, note in enumerate(notes, 1)), *_remarks(dict(own))):
            yield f"\n{_paragraph(text)}"
        yield f"\n![PSNR against multiply-adds, x{scale}](results_x{scale}.svg)"
    yield "\n![PSNR against time, all scales](results_time.svg)"


def _remarks(own):
    """What a scale's table does not say by itself."""
    for name, card in own.items():
        if max_depth := _deepest(card["config"]):
            yield (
                f"{name}: PSNR and time at a desired depth of {max_depth}, the largest. Its Mult-Adds are the dense count, "
                "every block at every pixel; the sparse path, which was timed, leaves out what the depth map does not ask for "
                "([adadsr.md](adadsr.md))."
            )
    for name, below in published.BELOW_XLSR.items():
        if name in own:
            training, xlsr = own[name]["training"], own["xlsr_x3"]["training"]
            yield (
                f"{name} is the network in RGB that XLSR's paper quantizes beside its own, after {training['steps']:,} steps; "
                f"the published row is of one for Y, trained for longer. In RGB the paper finds it {below:.2f} dB below XLSR "
                f"(DIV2K), we {xlsr['validation_psnr_rgb'] - training['validation_psnr_rgb']:.2f} (held-out training images)."
            )
    if {"xlsr_x2", "fgnas_x2"} <= set(own):
        xlsr, fgnas = own["xlsr_x2"], own["fgnas_x2"]
        share = xlsr["multiply_adds_720p"] / fgnas["multiply_adds_720p"]
        start = xlsr["training"]["start"]
        batches = [card["training"]["stages"][-1]["recipe"]["batch"] for card in (xlsr, fgnas)]
        ahead = [xlsr["scores"][s]["y"]["float32"] - fgnas["scores"][s]["y"]["float32"] for s in zoo.SETS]
        yield (
            f"xlsr_x2 is {min(ahead):.2f} to {max(ahead):.2f} dB ahead of fgnas_x2 with {share * 100:.0f} % of its "
            f"multiply-adds, but it was trained far longer: {start['steps'] + xlsr['training']['best_step']:,} steps of "
            f"{batches[0]} patches ({start['steps']:,} of them as {start['name']}) against "
            f"{fgnas['training']['best_step']:,} of {batches[1]}. So the two rows do not compare the networks; with the same "
            "training they were not measured."
        )


def _deepest(config):
    """The number of blocks of a network that takes a desired depth, else None."""
    return config["blocks"] if config.get("depth") == "input" else None


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
    yield f"\nSSIM (Y), {_BOTH}: {ssim}.\n"
    yield f"Training: {training['note']}"
    recipes = ", then ".join(f"`{s['recipe']['name']}` ({zoo.steps_done(s)})" for s in training["stages"])
    yield f"Recipe: {recipes}; best at step {training['best_step']:,}.\n"
    rows = read_history(zoo.FOLDER / training["log"])
    every = max(1, len(rows) // 10)
    picked = [row for k, row in enumerate(rows, 1) if k in (1, len(rows)) or k % every == 0]
    yield f"Validation PSNR over steps (RGB, x{card['config']['scale']}, held-out training images):\n"
    yield "| steps | " + " | ".join(f"{int(r['step']):,}" for r in picked) + " |"
    yield "|---" * (len(picked) + 1) + "|"
    yield "| dB | " + " | ".join(f"{float(r['validation_psnr_rgb']):.3f}" for r in picked) + " |"
    yield from _curve(training["stages"])


def _curve(stages):
    """What the validation curve's figures are of."""
    first, last = stages[0]["recipe"], stages[-1]["recipe"]
    if first["ema_decay"]:
        steps = round(1 / (1 - first["ema_decay"]))
        yield f"\nThe weights that are scored are a running average over about {steps:,} steps: hence the low start."
    max_depth = _deepest(last["network"])
    if max_depth and "depth" not in first["network"]:
        depths = ", ".join(f"{max_depth * k / 4:g}" for k in (1, 2, 3))
        text = (
            f"The measure changes after step {stages[0]['steps']:,}, where the training of the adapter begins: before, all "
            f"{max_depth} blocks run; after, the figure is the mean over desired depths of {depths} and {max_depth} blocks."
        )
        yield f"\n{_paragraph(text)}"


_HEAD = """
Written by `python -m tools.zoo.results docs` from the zoo's cards, which `python -m tools.zoo.pack` measured.
PSNR in dB under the protocol of [protocol.md](protocol.md), float32 -> uint8 (drop). The uint8 files are export's default
([quantization.md](quantization.md)): equalized, rounded by the inputs, calibrated on scikit-image's pictures, not trained;
uint8 in and out. Our training images are BSDS500, T91 and General-100: {given} given, one duplicate left out, {held_out} held
out for validation, {trained_on} trained on; test sets chose nothing. Two thirds are BSDS500's, the source of B100 too (no image
is in both): that favours the B100 columns. XLSR, FGNAS and AdaDSR were trained on DIV2K (XLSR 500,000 steps, FGNAS 2,000,000),
older networks on other sets (FSRCNN on T91 and General-100); all print floats. An empty cell is what a paper does not print, or
prints for another image size. Colour error is the largest error on 27 flat colours, in levels of 255: PSNR on photographs does
not show it. Parameters and multiply-adds, the latter of a 1280x720 output, are of the Keras network.
"""


def write(folder, time_anew=False):
    """Write results.md and its plots into `folder`."""
    folder = files.make_folder(folder)
    if time_anew:
        measure()
    files.write_text(folder / "results.md", page())
    for name, picture in pictures().items():
        files.write_text(folder / name, picture)


def main():
    """Command line of this module."""
    parser = command_line.Parser("results", __doc__)
    parser.add_argument("folder", help="for the page and its plots: docs")
    parser.add_argument("--time", action="store_true", help="measure the host's times anew")
    args = parser.parse_args()
    parser.run(write, args.folder, args.time)


if __name__ == "__main__":
    main()
