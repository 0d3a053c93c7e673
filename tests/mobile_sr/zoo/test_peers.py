"""Networks of others beside the zoo: which are better at a cost, and where peers.json has its figures from."""

import pytest

from mobile_sr import models, zoo
from mobile_sr.files import read_json, write_json
from tools.zoo import peer_pages, peers

ROWS = read_json(peers.FILE)["rows"]
BUILT = [pytest.param(row, marks=pytest.mark.slow if row["scale"] != 3 else ()) for row in ROWS if row["config"]]


def network(name, instructions, uint8=None, float32=None, own=False):
    scores = {"uint8": uint8, "float32": float32}
    scores = {precision: {} if psnr is None else {peers.SET: psnr} for precision, psnr in scores.items()}
    return peers.Network(name, own, 1, 1, instructions, scores)


def better(one, *others):
    return [(found.network.name, found.precision) for found in peers.better(one, list(others))]


def test_a_better_network_costs_no_more_and_reaches_no_less():
    one = network("one", 100, 33.0, 33.5)
    assert better(one, network("same", 100, 33.0), network("dearer", 101, 34.0), network("worse", 90, 32.99)) == []
    assert better(one, network("a repeated count", 99.95, 33.0), network("more", 100.05, 34.0)) == []
    assert better(one, network("cheaper", 99, 33.0), network("higher", 100, 33.1)) == [
        ("higher", "uint8"),
        ("cheaper", "uint8"),
    ]
    assert better(one, network("uncounted", None, 34.0), network("unknown", 50)) == []
    assert better(network("uncounted", None, 30.0), one) == []


def test_networks_are_compared_in_the_same_precision():
    """In float32 if the uint8 PSNR of one is not known; those compared in uint8 come first."""
    one = network("one", 100, 33.0, 33.5)
    assert better(one, network("float", 100, None, 33.4)) == []
    found = better(one, network("float", 100, None, 33.6), network("drops", 100, 32.9, 33.9), network("uint8", 90, 33.1, 33.2))
    assert found == [("uint8", "uint8"), ("float", "float32")]


def test_front():
    assert peers.front([(4, 3), (1, 1), (2, 0), (3, 3), (1, 2), (5, 4)]) == [(1, 2), (3, 3), (5, 4)]


@pytest.mark.parametrize("row", BUILT, ids=lambda row: f"{row['name']}_x{row['scale']}")
def test_the_costs_of_peers_are_those_of_their_networks(row):
    model = models.build({**row["config"], "scale": row["scale"]})
    assert row["parameters"] == model.count_params()
    assert row["multiply_adds_720p"] == round(models.multiply_adds(model, 1280 * 720 / row["scale"] ** 2))
    assert row["instructions"] is not None


def test_every_figure_has_a_source():
    texts = peers.sources()
    used = {row[f"{precision}_source"] for row in ROWS for precision in peers.PRECISIONS if row[precision]}
    assert used == set(texts)
    assert all(row[f"{precision}_source"] is None for row in ROWS for precision in peers.PRECISIONS if not row[precision])
    for scale in (2, 3, 4):
        section = peer_pages.section(scale)
        for found in peers.networks(scale):
            assert [texts[source] in section for source in found.sources] == [True] * len(found.sources)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_packaged_networks_below_the_line_are_named_with_their_reason(scale):
    """On the page and on the card; a card has no reason that is not needed."""
    rows, lines = peers.networks(scale), peer_pages.section(scale).splitlines()
    for found in (row for row in rows if row.own and row.instructions is not None):
        below, reason = peers.better(found, rows), zoo.card(found.name).get("reason", "")
        assert bool(reason) == bool(below), f'{found.name}: below the line? {bool(below)}; "reason" in its card: {reason!r}'
        listed = [line for line in lines if line.startswith(f"- {found.name} (")]
        assert [line.endswith(f" dB here. {reason}") for line in listed] == [True] * bool(below)
        card = peer_pages.card_section(found.name)
        assert ("is below the line of the other" in card) == card.endswith(f" dB here. {reason}") == bool(below)


def test_the_counts_of_others_are_near_the_packaged_file():
    """ABPN as published and abpn_x3 are the same network."""
    (found,) = (row for row in ROWS if row["name"] == "ABPN" and row["scale"] == 3)
    own = next(row for row in peers.networks(3) if row.name == "abpn_x3")
    assert own.instructions in (None, pytest.approx(found["instructions"], rel=peers.REPEATABLE))  # None: not counted yet
    assert found["parameters"] == own.parameters
    assert found["multiply_adds_720p"] == own.multiply_adds


def test_only_networks_that_can_be_built_are_counted(tmp_path, monkeypatch):
    file = tmp_path / "peers.json"
    rows = [{"name": "ETDS-T", "scale": 3, "config": {"network": "etds"}, "instructions": None}, {"name": "x", "config": None}]
    write_json(file, {"sources": {}, "rows": rows})
    monkeypatch.setattr(peers.names, "find", lambda name, cpu: (name, cpu))
    monkeypatch.setattr(peers, "_counted", lambda config, device: {"instructions": 7.5, "seen": [config, *device]})
    peers.count(file)
    counted, other = read_json(file)["rows"]
    assert counted["instructions"] == 7.5
    assert counted["seen"] == [{"network": "etds", "scale": 3}, "virtual:arm64", "cortex-a76"]
    assert other == rows[1]
