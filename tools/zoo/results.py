"""Writes results.md and its plots from the zoo's cards: `python -m tools.zoo.results docs/measurements`.

The text is results.md.template. With `--time` the times of this machine are measured again, twice, and stored in host.json;
without, the stored times are used and the page comes out the same bit for bit. An entry whose files changed since then has
no times. The figures of virtual devices are those of docs/measurements/devices.json; tools.zoo.devices measures them.
"""

import datetime

from mobile_sr import files, models, zoo
from mobile_sr.benchmarking import benchmark
from mobile_sr.evaluation import plots
from mobile_sr.training.recipes import with_new_names
from mobile_sr.training.run_folder import read_history
from tools.zoo import command_line, device_pages, exits, image_sets, peer_pages, peers, published, templates

_TEXT = templates.Page("results")
_HOST = zoo.FOLDER / "host.json"
_SIZE = 180, 320  # LR (H, W) that is timed
_RUNS = 20
_PLOTTED = "Set14"
_BOTH = "float32 -> uint8"


def _files():
    """NAME:VARIANT of all entries' files, which are timed."""
    return [f"{name}:{variant}" for name in zoo.names() for variant in zoo.VARIANTS]


def measure():
    """Write host.json: CPU times of all entries' files, interleaved, measured twice to show how far they repeat."""
    models = _files()
    first, again = (benchmark.benchmark(models, _SIZE, 1, _RUNS) for _ in range(2))
    host = {"environment": first["environment"]}
    for key, report in (("cpu_ms_p50", first), ("again_cpu_ms_p50", again)):
        host[key] = {row["model"]: round(row["cpu_ms"]["p50"], 1) for row in report["results"]}
    host["sha256"] = {model: files.sha256_file(zoo.resolve(model)) for model in models}
    files.write_json(_HOST, host)


def _host():
    """The last measurement, without the times of entries whose files have changed since."""
    host = files.read_json(_HOST)
    changed = {m.partition(":")[0] for m in _files() if host["sha256"].get(m) != files.sha256_file(zoo.resolve(m))}
    for key in ("cpu_ms_p50", "again_cpu_ms_p50"):
        host[key] = {
            model: ms for model, ms in host[key].items() if model in _files() and model.partition(":")[0] not in changed
        }
    return host


def page():
    """The Markdown of results.md."""
    host = _host()
    text = _TEXT.fill(
        "page",
        goal=goal(),
        image_sets=_image_sets(),
        times=_times(host),
        overview="\n\n".join(_scale(scale, own, host) for scale, own in _by_scale()),
        time_plot="![PSNR against time, all scales](results_time.svg)" if _timed(host["cpu_ms_p50"]) else "",
        virtual_devices=device_pages.results_section([name for _, own in _by_scale() for name, _ in own]),
        sections="\n\n".join(map(_section, zoo.names())),
    )
    return templates.wrap(text) + "\n"


def goal():
    """The paragraph, of README too, that compares XLSR x3 with its paper."""
    card, paper = zoo.card("xlsr_x3"), published.XLSR_X3.psnr
    y, rgb = [card["scores"][s]["y"] for s in zoo.SETS], card["scores"]["Set5"]["rgb"]
    ours = [round(score["float32"], 2) for score in y]
    text = _TEXT.fill(
        "goal",
        ours=_list(ours),
        sets=" / ".join(zoo.SETS),
        paper=_list(paper),
        above=" / ".join(f"{score - theirs:+.2f}" for score, theirs in zip(ours, paper, strict=True)),
        steps=f"{card['training']['steps']:,}",
        images=_trained_on(card),
        drops=" / ".join(f"{score['float32'] - score['uint8']:.3f}" for score in y),
        rgb_float32=f"{rgb['float32']:.2f}",
        rgb_uint8=f"{rgb['uint8']:.2f}",
        rgb_drop=f"{rgb['float32'] - rgb['uint8']:.3f}",
        paper_drop=published.XLSR_DROP,
    )
    return templates.wrap(text)


def charts():
    """{file name: SVG} of the page's plots."""
    host, drawn = _host()["cpu_ms_p50"], {}
    index = zoo.SETS.index(_PLOTTED)
    for scale, own in _by_scale():
        costs = [
            (card["multiply_adds_720p"] / 1e9, card["scores"][_PLOTTED]["y"]["float32"], name)
            for name, card in own
            if _is_one_clean_network(card)
        ]
        papers = [(row.cost / 1e9, row.psnr[index], row.name) for row in published.ROWS[scale] if row.cost]
        title, psnr = f"{_PLOTTED}, x{scale}", "PSNR, dB (Y, float)"
        series = [("mobile-sr", costs, False), ("published", papers, False)]
        drawn[f"results_x{scale}.svg"] = plots.plot(title, "multiply-adds of a 1280x720 output, G", psnr, series, log_x=True)
    names = _timed(host)
    points = {v: [(host[f"{n}:{v}"], zoo.card(n)["scores"][_PLOTTED]["y"][v]) for n in names] for v in zoo.VARIANTS}
    links = list(zip(*points.values(), strict=True))
    labels = {"float32": names, "uint8": [""] * len(links)}  # one label for the pair
    series = [(v, [(*p, n) for p, n in zip(points[v], labels[v], strict=True)], False) for v in zoo.VARIANTS]
    title, label = f"{_PLOTTED}, all scales", f"CPU time of {_SIZE[1]}x{_SIZE[0]} LR pixels, ms"
    if names:
        drawn["results_time.svg"] = plots.plot(title, label, "PSNR, dB (Y)", series, log_x=True, links=links)
    for scale, _ in _by_scale():
        if svg := peer_pages.chart(scale):
            drawn[f"results_instructions_x{scale}.svg"] = svg
    return drawn


def table():
    """The lines of README's table: the cost of each entry, and its scores before and after quantization.

    Entries whose scores on clean images at full cost are not what they are for are left out: AdaDSR, which is a demonstration,
    exits, which are entries of their own, and robust networks.
    """
    header = [f"Y, {_BOTH} (drop)", "parameters", "Mult-Adds", "A76 instructions", *zoo.SETS]
    rows = [
        [name, *_counts(card), _number(device_pages.instructions(name), ",.0f"), *_psnr(card)]
        for _, own in _by_scale()
        for name, card in own
        if _is_one_clean_network(card) and not models.has_depth(card["config"])
    ]
    return templates.table(header, rows).split("\n")


def _timed(host):
    """The entries of the plot of times, given {model: CPU ms}: those whose files have not changed since."""
    return [name for name in zoo.names() if f"{name}:float32" in host and _is_one_clean_network(zoo.card(name))]


def _is_one_clean_network(card):
    """Whether an entry is neither a set of exits, which are entries of their own, nor robust."""
    return not (exits.of(card) or peers.is_robust(card))


def _counts(card):
    return [f"{card['parameters']:,}", f"{card['multiply_adds_720p'] / 1e9:.2f}G"]


def _by_scale():
    """[(scale, [(name, card)] by cost)]"""
    cards = {name: zoo.card(name) for name in zoo.names()}
    scales = {}
    for name in sorted(cards, key=lambda name: cards[name]["multiply_adds_720p"]):
        scales.setdefault(cards[name]["config"]["scale"], []).append((name, cards[name]))
    return sorted(scales.items())


def _trained_on(card):
    """The number of images that an entry was trained on."""
    data = card["training"]["stages"][-1]["data"]
    return data["images"] - len(data["held_out"])


def _image_sets():
    """The sets of training images and their entries, a clause for each."""
    entries = {}
    for name in zoo.names():
        training = zoo.card(name)["training"]
        entries.setdefault(image_sets.of_training(training["stages"], training["start"]).name, []).append(name)
    sets = [each for each in image_sets.read() if each.name in entries]
    return "; ".join(_TEXT.fill("image set", names=", ".join(entries[each.name]), images=each.images) for each in sets)


def _list(scores):
    return " / ".join(f"{score:.2f}" for score in scores)


def _number(value, form):
    return "" if value is None else f"{value:{form}}"


def _psnr(card):
    both = [card["scores"][s]["y"] for s in zoo.SETS]
    return [f"{y['float32']:.2f} -> {y['uint8']:.2f} ({y['float32'] - y['uint8']:.3f})" for y in both]


def _times(host):
    """Where and when the times were measured, how far they repeat, and the entries without."""
    where, times, again = host["environment"], host["cpu_ms_p50"], host["again_cpu_ms_p50"]
    paragraphs = []
    if times:
        ratios = {model: max(again[model], times[model]) / min(again[model], times[model]) for model in times}
        model = max(ratios, key=ratios.get)
        text = _TEXT.fill(
            "times",
            **{key: where[key] for key in ("width", "height", "threads", "cpu", "runs", "cores")},
            begun=f"{datetime.datetime.fromisoformat(where['date']):%Y-%m-%d %H:%M}",
            load=f"{where['load_average'][0]:.1f}",
            ratio=f"{ratios[model]:.2f}",
            model=model,
            first=f"{times[model]:.1f}",
            second=f"{again[model]:.1f}",
        )
        paragraphs.append(text)
    missing = [name for name in zoo.names() if f"{name}:float32" not in times]
    if missing:
        paragraphs.append(_TEXT.fill("no times", names=", ".join(missing)))
    return "\n\n".join(paragraphs)


def _scale(scale, own, host):
    """A scale's section: all entries beside the papers' rows."""
    header = ["", "parameters", "Mult-Adds, G", *(f"{s}, {_BOTH} (drop)" for s in zoo.SETS)]
    header += [f"{what}, {_BOTH}" for what in ("colour error", "KiB", "CPU ms")]
    papers = published.ROWS[scale]
    notes = [row.note for row in papers if row.note]
    rows = [*(_own_row(name, card, host) for name, card in own), *(_paper_row(row, notes) for row in papers)]
    footnotes = [_TEXT.fill("note", number=number, text=note) for number, note in enumerate(notes, 1)]
    return _TEXT.fill(
        "scale",
        scale=scale,
        table=templates.table(header, rows),
        notes="\n\n".join([*footnotes, *_remarks(dict(own))]),
        instructions=peer_pages.section(scale),
    )


def _own_row(name, card, host):
    """The row of an entry."""
    models = [f"{name}:{variant}" for variant in zoo.VARIANTS]
    colours = (str(card["colour_error"][variant]["flat"]) for variant in zoo.VARIANTS)
    sizes = (f"{zoo.resolve(model).stat().st_size / 1024:.0f}" for model in models)
    times = [f"{host['cpu_ms_p50'][model]:.1f}" for model in models if model in host["cpu_ms_p50"]]
    counts = [f"**{name}**", f"{card['parameters']:,}", f"{card['multiply_adds_720p'] / 1e9:.2f}"]
    return [*counts, *_psnr(card), *(" -> ".join(both) for both in (colours, sizes, times))]


def _paper_row(row, notes):
    """The row of a paper's network."""
    mark = f" <sup>{notes.index(row.note) + 1}</sup>" if row.note else ""
    cost = row.cost and row.cost / 1e9
    cells = [f"{row.name}{mark} ({row.source})", _number(row.parameters, ","), _number(cost, ".2f")]
    return [*cells, *(_number(value, ".2f") for value in row.psnr), "", "", ""]


def _remarks(own):
    """What a scale's table does not say by itself."""
    for name, card in own.items():
        if depth := _max_depth(card["config"]):
            yield _TEXT.fill("depth", name=name, depth=depth)
    for name, below in published.BELOW_XLSR.items():
        if name in own:
            training, xlsr = own[name]["training"], own["xlsr_x3"]["training"]
            yield _TEXT.fill(
                "peer",
                name=name,
                changed=_TEXT.fill("relu") if own[name]["config"].get("activation") == "relu" else "",
                steps=f"{training['steps']:,}",
                paper=f"{below:.2f}",
                ours=f"{xlsr['validation_psnr_rgb'] - training['validation_psnr_rgb']:.2f}",
            )
    if {"xlsr_x2", "fgnas_x2"} <= set(own):
        yield _unequal_training(own["xlsr_x2"], own["fgnas_x2"])


def _unequal_training(xlsr, fgnas):
    """The remark that xlsr_x2 and fgnas_x2 were not trained alike."""
    start = xlsr["training"]["start"]
    batches = [card["training"]["stages"][-1]["recipe"]["batch"] for card in (xlsr, fgnas)]
    ahead = [xlsr["scores"][s]["y"]["float32"] - fgnas["scores"][s]["y"]["float32"] for s in zoo.SETS]
    return _TEXT.fill(
        "unequal training",
        low=f"{min(ahead):.2f}",
        high=f"{max(ahead):.2f}",
        share=f"{xlsr['multiply_adds_720p'] / fgnas['multiply_adds_720p'] * 100:.0f}",
        steps=f"{start['steps'] + xlsr['training']['best_step']:,}",
        batch=batches[0],
        before=f"{start['steps']:,}",
        start=start["name"],
        other_steps=f"{fgnas['training']['best_step']:,}",
        other_batch=batches[1],
    )


def _max_depth(config):
    """The number of blocks of a network that takes a desired depth, else None."""
    return config["blocks"] if config.get("depth") == "input" else None


def _section(name):
    """An entry's section: all scores, its training and its validation curve."""
    card = zoo.card(name)
    training, scores = card["training"], card["scores"]
    both = [s[space] for s in scores.values() for space in ("y", "rgb")]
    labels = zip(zoo.VARIANTS, ("trained, float32", "uint8 .tflite"), strict=True)
    rows = [[label, *(f"{psnr[variant]:.2f}" for psnr in both)] for variant, label in labels]
    rows.append(["drop", *(f"{psnr['float32'] - psnr['uint8']:.3f}" for psnr in both)])
    history = read_history(zoo.FOLDER / training["log"])
    every = max(1, len(history) // 10)
    picked = [row for k, row in enumerate(history, 1) if k in (1, len(history)) or k % every == 0]
    return _TEXT.fill(
        "entry",
        name=name,
        exits=_TEXT.fill("exits", table=exits.table(card, device_pages.of_exits(name))) if exits.of(card) else "",
        scores=templates.table(["", *(f"{s} {space}" for s in scores for space in ("Y", "RGB"))], rows),
        ssim=", ".join(f"{s} {v['ssim_y']['float32']:.4f} -> {v['ssim_y']['uint8']:.4f}" for s, v in scores.items()),
        note=training["note"],
        recipes=", then ".join(f"`{s['recipe']['name']}` ({zoo.steps_done(s)})" for s in training["stages"]),
        best_step=f"{training['best_step']:,}",
        scale=card["config"]["scale"],
        history=templates.table(
            ["steps", *(f"{int(r['step']):,}" for r in picked)],
            [["dB", *(f"{float(r['validation_psnr_rgb']):.3f}" for r in picked)]],
        ),
        remarks="\n\n".join(_curve_remarks(training["stages"])),
    )


def _curve_remarks(stages):
    """What the figures of the validation curve are."""
    first, last = (with_new_names(stages[k]["recipe"]) for k in (0, -1))
    if last["network"].get("exits"):
        yield _TEXT.fill("mean of exits")
    if first["ema_decay"]:
        yield _TEXT.fill("averaged weights", steps=f"{round(1 / (1 - first['ema_decay'])):,}")
    depth = _max_depth(last["network"])
    if depth and "depth" not in first["network"]:
        depths = ", ".join(f"{depth * k / 4:g}" for k in (1, 2, 3))
        yield _TEXT.fill("depth validation", step=f"{stages[0]['steps']:,}", depth=depth, depths=depths)


def write(folder, measure_times=False):
    """Write results.md and its plots into `folder`."""
    folder = files.make_folder(folder)
    if measure_times:
        measure()
    files.write_text(folder / "results.md", page())
    for name, svg in charts().items():
        files.write_text(folder / name, svg)


def main():
    """Command line of this module."""
    parser = command_line.Parser("results", __doc__)
    parser.add_argument("folder", help="for the page and its plots: docs/measurements")
    parser.add_argument("--time", action="store_true", help="measure the times of this machine again")
    args = parser.parse_args()
    parser.run(write, args.folder, args.time)


if __name__ == "__main__":
    main()
