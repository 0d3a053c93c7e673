"""Sections of results.md and of the cards, and charts: the zoo beside networks of others, by Arm instructions (peers.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mobile_sr import zoo
from mobile_sr.evaluation import plots
from tools.zoo import peers, templates
from tools.zoo.peers import Network

_TEXT = templates.Page("peers")
_HEADER = ("", "parameters", "Mult-Adds, G", "A76 instructions")
_SCORES = (f"{peers.SET}, float32", f"{peers.SET}, uint8", "drop")


def section(scale: int) -> str:
    """Returns the section of results.md for a scale: table, chart, and which packaged networks are below the line."""
    rows = sorted(peers.networks(scale), key=lambda network: network.instructions or float("inf"))
    shown = [*rows, *(each for found in peers.of_exits(scale).values() for each in found[:-1])]  # the last one is the entry
    shown.sort(key=lambda network: network.instructions or float("inf"))
    cited = list(dict.fromkeys(source for network in rows for source in network.sources))
    texts = peers.sources()
    notes = [_TEXT.fill("source", number=number, text=texts[source]) for number, source in enumerate(cited, 1)]
    other_sets = [f"{name}, uint8" for name in zoo.SETS if name != peers.SET]
    return _TEXT.fill(
        "section",
        scale=scale,
        table=templates.table([*_HEADER, *_SCORES, *other_sets], [_row(network, cited) for network in shown]),
        chart=_TEXT.fill("chart", scale=scale) if chart(scale) else "",
        line="\n\n".join(_line(rows)),
        notes="\n\n".join(notes),
    )


def _line(rows: list[Network]) -> Iterator[str]:
    """The paragraphs about the packaged networks of a scale: which are below the line, and which were not counted."""
    own = [network for network in rows if network.own]
    uncounted = [network.name for network in own if network.instructions is None]
    below = [network for network in own if peers.better(network, rows)]
    if below:
        entries = (_TEXT.fill("entry", **_comparison(network, rows)) for network in below)
        yield _TEXT.fill("below the line", entries="\n".join(entries))
    elif len(uncounted) < len(own):
        yield _TEXT.fill("all on the line")
    if uncounted:
        yield _TEXT.fill("not counted", names=", ".join(uncounted))


def card_section(name: str) -> str:
    """Returns the paragraph of a network's card: whether its uint8 file is below the line of the other networks."""
    scale = zoo.card(name)["config"]["scale"]
    rows = peers.networks(scale)
    (network,) = (row for row in rows if row.own and row.name == name)
    if network.instructions is None:
        return _TEXT.fill("uncounted")
    if peers.better(network, rows):
        return _TEXT.fill("card below", scale=scale, set=peers.SET, **_comparison(network, rows))
    return _TEXT.fill("card on the line", scale=scale, set=peers.SET, instructions=f"{network.instructions:,.0f}")


def chart(scale: int) -> str | None:
    """Returns the SVG of PSNR against instructions; None if no packaged network of the scale has a count.

    The PSNR is that in uint8 if it is known for at least half of the other networks, else that in float32. The exits of a
    packaged network are a curve of their own.
    """
    counted = [
        network
        for network in peers.networks(scale)
        if network.instructions is not None and not (network.own and peers.is_robust(zoo.card(network.name)))
    ]
    others = [network for network in counted if not network.own]
    if len(others) == len(counted):
        return None
    known = [network for network in others if network.psnr("uint8") is not None]
    precision = "uint8" if 2 * len(known) >= len(others) else "float32"
    curves = {name: [one for one in found if one.instructions is not None] for name, found in peers.of_exits(scale).items()}
    static = [network for network in counted if network.name not in curves]
    series = [
        (title, _points(static, own, precision), False) for title, own in (("mobile-sr", True), ("networks of others", False))
    ]
    for name, found in curves.items():  # the label at the last one is enough
        series.append((f"{name}, exits", [(x, y, "") for x, y, _ in _points(found, True, precision)], True))
    line = peers.front([(x, y) for _, points, _ in series for x, y, _ in points])
    return plots.plot(
        f"{peers.SET}, x{scale}, {precision} (gray: the best at each cost)",
        "instructions per LR pixel of the uint8 file, virtual Cortex-A76",
        f"PSNR, dB (Y, {precision})",
        [one for one in series if one[1]],
        log_x=True,
        links=list(zip(line, line[1:], strict=False)),
    )


def _points(networks: Sequence[Network], own: bool, precision: str) -> list[tuple[float, float, str]]:
    """(instructions, PSNR, name) of the packaged networks or of the others."""
    chosen = [network for network in networks if network.own == own]
    psnr = [network.psnr(precision) for network in chosen]
    return [(n.instructions or 0.0, y, n.name) for n, y in zip(chosen, psnr, strict=True) if y is not None]


def _row(network: Network, cited: Sequence[str]) -> list[str]:
    """The cells of a network; the marks after its name are the numbers of its sources."""
    marks = "".join(f" <sup>{cited.index(source) + 1}</sup>" for source in network.sources)
    cost = None if network.multiply_adds is None else network.multiply_adds / 1e9
    float32, uint8 = network.psnr("float32"), network.psnr("uint8")
    drop = None if float32 is None or uint8 is None else float32 - uint8
    cells = [
        f"**{network.name}**" if network.own else f"{network.name}{marks}",
        _number(network.parameters, ",d"),
        _number(cost, ".2f"),
        _number(network.instructions, ",.0f"),
        _number(float32, ".2f"),
        _number(uint8, ".2f"),
        _number(drop, ".3f" if network.own else ".2f"),
    ]
    return [*cells, *(_number(network.scores["uint8"].get(name), ".2f") for name in zoo.SETS if name != peers.SET)]


def _number(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"


def _comparison(network: Network, rows: list[Network]) -> dict[str, str]:
    """The placeholders about the best network above the line, and the reason on the card."""
    best = peers.better(network, rows)[0]
    reason = zoo.card(network.name).get("reason")
    return {
        "name": network.name,
        "instructions": _number(network.instructions, ",.0f"),
        "better": best.network.name,
        "cost": _number(best.network.instructions, ",.0f"),
        "precision": best.precision,
        "ours": f"{best.beaten:.2f}",
        "theirs": f"{best.psnr:.2f}",
        "reason": f" {reason}" if reason else "",
    }
