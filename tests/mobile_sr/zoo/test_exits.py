"""An entry with exits, packed into a copy of the zoo: its card, pages, chart, models of the devices, and `mobile-sr models`."""

import csv
import json

import numpy as np
import pytest

from mobile_sr import load, models, zoo
from mobile_sr.errors import UserError
from mobile_sr.files import read_json, write_json
from mobile_sr.imaging import flat_colours
from mobile_sr.imaging.images import write_image
from mobile_sr.inference import weights
from mobile_sr.routing.exits import ExitsUpscaler
from tests.conftest import make_image
from tests.mobile_sr.routing.test_exits_training import NETWORK, save
from tools.zoo import cards, devices, exits, image_sets, other_quantizers, pack, peer_pages, peers, results

NAME = "tiny_exits_x2"
ROWS = [{"step": 1, "validation_psnr_rgb": 20.0}, {"step": 2, "validation_psnr_rgb": 21.0}]


@pytest.fixture
def entry(tmp_path, monkeypatch):
    """The card of a packed network with random weights; the other entries are links to those of the package."""
    folder, run, data = (tmp_path / name for name in ("zoo", "run", "data"))
    folder.mkdir()
    run.mkdir()
    for path in zoo.FOLDER.iterdir():
        if path.is_file():
            (folder / path.name).symlink_to(path)
    model, config = weights.load_model(save(run / "best.npz"))
    weights.save_model(run / "best.npz", model, config, {"step": 2, "validation_psnr_rgb": 21.0})
    recipe = {"name": "chainsr_m_exits_x2", "steps": 2, "batch": 1, "patch": 8, "ema_decay": 0, "network": NETWORK}
    images = {"sha256": image_sets.read()[-1].sha256[0], "images": 6, "held_out": ["p0.png"]}
    write_json(run / "config.json", {"init": None, "recipe": recipe, "data": images, "versions": {}})
    with (run / "history.csv").open("w") as file:
        writer = csv.DictWriter(file, list(ROWS[0]))
        writer.writeheader()
        writer.writerows(ROWS)
    for name in zoo.SETS:
        (data / name).mkdir(parents=True)
        write_image(data / name / "p.png", make_image(40, 48))
    monkeypatch.setattr(zoo, "FOLDER", folder)
    with pytest.raises(UserError, match=r"tiny_exits_x2:float32, exit after 1 layers: .*; at most 3 are packaged"):
        pack.pack([str(run)], NAME, data, "Random weights.")
    assert NAME not in zoo.names()
    monkeypatch.setattr(flat_colours, "LIMIT", 255)
    monkeypatch.setattr(other_quantizers, "COUNT", 4)
    return pack.pack([str(run)], NAME, data, "Random weights.")


@pytest.mark.slow
def test_an_entry_with_exits(entry, tmp_path, monkeypatch, run_here):
    assert (zoo.FOLDER / f"{NAME}_uint8.tflite").is_file()
    assert [each["layers"] for each in exits.of(entry)] == [1, 2, 3]
    assert entry["scores"] == exits.of(entry)[-1]["scores"]
    model = load(f"{NAME}:uint8")
    assert isinstance(model, ExitsUpscaler)
    found = exits.scores(NAME, tmp_path / "data" / "Set5")
    assert found == [each["scores"]["Set5"] for each in exits.of(entry)]
    assert len({scores["y"]["uint8"] for scores in found}) == 3
    assert devices.forms(NAME) == [f"{NAME}:uint8{end}" for end in ("", "@signature=exit1", "@signature=exit2")]

    figures = read_json(devices.FILE)
    row = {"device": "virtual:arm64 (test)", "date": "2026-01-01", "against_host": {"differing_fraction": 0.0}}
    for model, count in zip(devices.forms(NAME), (900.0, 500.0, 700.0), strict=True):
        counted = {"cortex-a76": {**row, "instructions_per_lr_pixel": count}}
        figures["models"][model] = {"sha256": devices.digest(model), "figures": counted}
    write_json(tmp_path / "devices.json", figures)
    monkeypatch.setattr(devices, "FILE", tmp_path / "devices.json")
    assert [network.instructions for network in peers.of_exits(2)[NAME]] == [500, 700, 900]
    assert f"{NAME}, exits" in peer_pages.chart(2)
    assert f"| **{NAME}, exit after 2 layers** |" in peer_pages.section(2)
    table = exits.table(entry, (500.0, None, 900.0)).splitlines()
    assert [line.split(" | ")[0] for line in table[2:]] == ["| 1", "| 2", "| 3"]
    card, page = cards.card(NAME), results.page()
    for text in (card, page):
        assert [row in text for row in exits.table(entry, (500.0, 700.0, 900.0)).splitlines()] == [True] * 5
    assert ", with exits after 1, 2, 3 layers." in card
    assert "(RGB, the mean of all exits)" in card
    assert f"{NAME}, exit after 1 layers" in page
    result = run_here("models", "--json", tmp_path / "models.json")
    lines = [line.split() for line in result.stdout.splitlines()]
    first = [words[:1] for words in lines].index([NAME]) + 1
    assert [words[-2:] for words in lines[first : first + 3]] == [["--depth", str(layers)] for layers in (1, 2, 3)]
    assert json.loads((tmp_path / "models.json").read_text())[zoo.names().index(NAME)]["exits"] == exits.of(entry)


def test_joined_entries_keep_their_outputs():
    names = ["chainsr_s_x3", "chainsr_m_x3"]
    model, config = exits.join(names)
    lr = np.random.default_rng(0).random((1, 9, 8, 3), np.float32)
    parts = models.split_exits(model, config)
    for name, (net, _) in zip(names, parts, strict=True):
        np.testing.assert_array_equal(net(lr), weights.load_model(zoo.FOLDER / f"{name}.npz")[0](lr))
    with pytest.raises(UserError, match=r"^xlsr_x3: cannot be joined with chainsr_m_x3: .* differ in more than their layers"):
        exits.join(["xlsr_x3", "chainsr_m_x3"])
