import csv
import json
import re
import sys

import numpy as np
import pytest

from mobile_sr import load, models, zoo
from mobile_sr.errors import UserError
from mobile_sr.evaluation import evaluate
from mobile_sr.files import sha256_file
from mobile_sr.imaging import pairs, sample_images
from mobile_sr.inference import weights
from tests import stored_weights
from tests.conftest import ROOT
from tools.zoo import cards, devices, exits, goals, image_sets, other_quantizers, pack, published, results, templates

ENTRIES = zoo.names()
DOCS = ROOT / "docs"
MEASUREMENTS = DOCS / "measurements"


def test_the_zoo_is_not_empty():
    assert "xlsr_x3" in ENTRIES


@pytest.mark.parametrize("name", ENTRIES)
def test_cards_match_their_files(name):
    card = zoo.card(name)
    model, config = weights.load_model(zoo.resolve(name))
    assert card["config"] == config
    assert card["parameters"] == model.count_params()
    parts, pixels = exits.networks(model, config), 1280 * 720 // config["scale"] ** 2
    assert card["multiply_adds_720p"] == models.multiply_adds(parts[-1][0], pixels)
    for each, (net, own) in zip(exits.of(card), parts if exits.of(card) else (), strict=True):
        assert (each["layers"], each["multiply_adds_720p"]) == (own["layers"], models.multiply_adds(net, pixels))
    for variant in zoo.VARIANTS:
        path = zoo.resolve(f"{name}:{variant}")
        sidecar = json.loads(path.with_suffix(".json").read_text())
        assert sidecar["sha256"] == sha256_file(path)
        assert sidecar["weights"]["sha256"] == sha256_file(zoo.resolve(name))
        assert all(check["passed"] for check in sidecar["audit"]["checks"])
    rows = list(csv.DictReader((zoo.FOLDER / card["training"]["log"]).open()))
    last = card["training"]["stages"][-1]["recipe"]
    best = max(rows, key=lambda row: float(row["validation_psnr_rgb"]))
    if last.get("flat_share"):  # then fewer levels of error on flat colours came before the PSNR
        (best,) = [row for row in rows if int(row["step"]) == card["training"]["best_step"]]
    assert int(best["step"]) == card["training"]["best_step"]
    assert float(best["validation_psnr_rgb"]) == card["training"]["validation_psnr_rgb"]


LARGE = [name for name in ENTRIES if zoo.card(name)["parameters"] > 50_000]


QUICK_FIRST = [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in ENTRIES]


@pytest.mark.parametrize("name", QUICK_FIRST)
@pytest.mark.parametrize("set_name", ["Set5", pytest.param("Set14", marks=pytest.mark.slow)])
def test_scores_on_the_cards_are_measured(data_dir, name, set_name):
    """Those of float32 are of the trained weights, from which the packaged file differs slightly."""
    scores = zoo.card(name)["scores"][set_name]
    for variant, tolerance in zip(zoo.VARIANTS, (0.03, 0.01), strict=True):
        for space in ("y", "rgb"):
            found = evaluate.evaluate(load(f"{name}:{variant}"), data_dir / set_name, space, ssim=False)["mean"]["psnr"]
            assert found == pytest.approx(scores[space][variant], abs=tolerance)


@pytest.mark.slow
@pytest.mark.usefixtures("all_colours")
@pytest.mark.parametrize("name", ["espcn_x3", "adaedsr_b8_x2"])
def test_the_drop_by_another_quantizer_is_measured(data_dir, name):
    recorded = zoo.card(name)["plain_quantization"]
    found = other_quantizers.entry(name, data_dir / "Set5")
    assert found["calibration"] == recorded["calibration"]
    for file in ("packaged", "quantized"):
        assert found[file]["Set5"] == pytest.approx(recorded[file]["Set5"], abs=0.02)
        assert found[file]["colour_error"]["flat"] == pytest.approx(recorded[file]["colour_error"]["flat"], abs=1)


@pytest.mark.parametrize("name", ENTRIES)
def test_another_quantizer_loses_little(name):
    """The packaged float32 files have steered weights: TensorFlow's nearest integers cost up to 2 dB without steering."""
    card = zoo.card(name)
    found = {key: card["plain_quantization"][key]["Set5"]["rgb"] for key in ("packaged", "quantized")}
    assert card["scores"]["Set5"]["rgb"]["float32"] - found["quantized"] <= goals.GOALS["plain_rgb"].limit
    assert abs(card["scores"]["Set5"]["rgb"]["float32"] - found["packaged"]) <= 0.03
    sidecar = json.loads(zoo.resolve(f"{name}:float32").with_suffix(".json").read_text())
    assert sidecar["rounding"] == "steered to the integers of 8 bits"


@pytest.mark.parametrize("name", ENTRIES)
def test_the_float32_file_has_the_integers_of_the_uint8_file(name):
    """Rounded to nearest; both must be of the same export, which depends on the processor."""
    paths = [zoo.resolve(f"{name}:{variant}") for variant in zoo.VARIANTS]
    assert stored_weights.differing(*(path.read_bytes() for path in paths)) == 0
    sidecars = [json.loads(path.with_suffix(".json").read_text()) for path in paths]
    for key in ("spare_channels", "mixing", "masks"):
        assert sidecars[0].get(key) == sidecars[1].get(key)


@pytest.mark.parametrize("name", QUICK_FIRST)
def test_packaged_nets_beat_bicubic_on_the_sample_images(name):
    """Holds without any research image: float well above bicubic, uint8 close behind."""
    scale = zoo.card(name)["config"]["scale"]
    bicubic, float32, uint8 = load("bicubic", scale), load(f"{name}:float32"), load(f"{name}:uint8")
    scores = []
    for image_name, image in sample_images.images(("astronaut", "coffee")):
        hr, lr = pairs.prepare_pair(image[120:360, 120:360], None, scale, image_name)
        scores.append([evaluate.score(u(lr), hr, "y", scale, False)["psnr"] for u in (bicubic, float32, uint8)])
    low, high, quantized = np.mean(scores, axis=0)
    assert high > low + 1.0
    assert high - quantized < 0.5


def test_keras_and_tflite_agree():
    """Nearly: the weights of the float32 file are steered."""
    image = sample_images.images(("chelsea",))[0][1][100:140, 100:148]
    for name in ENTRIES:
        difference = load(name)(image).astype(int) - load(f"{name}:float32")(image)
        assert np.abs(difference).max() <= 6
        assert np.square(difference).mean() < 0.4


def test_unknown_entries_and_variants():
    with pytest.raises(UserError, match="xlsr_x3"):
        zoo.resolve("nosuch")
    with pytest.raises(UserError, match="xlsr_x3:uint8"):
        zoo.resolve("xlsr_x3:int4")


def test_steps_of_several_stages_are_numbered_consecutively(tmp_path):
    """The steps of a run that continues a zoo entry follow those of the entry."""
    from tools.zoo.pack import _log

    recipe = {"name": "xlsr_finetune_x3", "steps": 50}
    (tmp_path / "config.json").write_text(json.dumps({"recipe": recipe, "data": {}, "versions": {}}))
    (tmp_path / "history.csv").write_text("step,validation_psnr_rgb\n10,26.2\n20,26.3\n")
    stages, rows = _log(["xlsr_x3", tmp_path])
    before = zoo.card("xlsr_x3")["training"]
    assert [stage["recipe"]["name"] for stage in stages[-2:]] == [before["stages"][-1]["recipe"]["name"], "xlsr_finetune_x3"]
    assert [row["step"] for row in rows[-2:]] == [before["steps"] + 10, before["steps"] + 20]
    assert rows[-1]["recipe"] == "xlsr_finetune_x3"
    assert stages[-1]["steps"] == 20
    assert zoo.steps_done(stages[-1]) == "20 of 50 steps"
    assert zoo.steps_done({**stages[-1], "steps": 50}) == "50 steps"


def test_a_run_that_started_from_an_entry_of_another_scale_says_so(tmp_path):
    for init, start in (
        (str(zoo.resolve("xlsr_x3")), {"name": "xlsr_x3", "steps": zoo.card("xlsr_x3")["training"]["best_step"]}),
        (None, None),
    ):
        (tmp_path / "config.json").write_text(json.dumps({"init": init}))
        assert pack._start(tmp_path) == start
    (tmp_path / "config.json").write_text(json.dumps({"init": "runs/other"}))
    with pytest.raises(UserError, match="it started from runs/other, which is no entry of the zoo"):
        pack._start(tmp_path)


def test_nothing_is_packed_where_a_set_is_missing(tmp_path):
    before = {path: sha256_file(path) for path in zoo.FOLDER.glob("xlsr_x3*")}
    (tmp_path / "Set5").mkdir()
    with pytest.raises(UserError, match="has no folder Set14; --data needs Set5, Set14, B100"):
        pack.pack(["xlsr_x3"], "xlsr_x3", tmp_path, "")
    assert {path: sha256_file(path) for path in zoo.FOLDER.glob("xlsr_x3*")} == before


def test_times_of_changed_files_are_left_out(tmp_path, monkeypatch):
    host = json.loads(results._HOST.read_text())
    host["sha256"]["xlsr_x3:uint8"] = "0" * 64
    (tmp_path / "host.json").write_text(json.dumps(host))
    monkeypatch.setattr(results, "_HOST", tmp_path / "host.json")
    page = results.page()
    assert re.search(r"^No times for [^:]*xlsr_x3[^:]*: the files changed", page, re.MULTILINE)
    row, _ = re.findall(r"^\| \*\*xlsr_x3\*\* .*", page, re.MULTILINE)  # the second one is by Arm instructions
    assert row.endswith(" |  |")
    assert ">xlsr_x3<" not in results.charts()["results_time.svg"]


@pytest.mark.parametrize("name", ENTRIES)
def test_model_cards_are_those_of_the_files(name):
    """docs/reference/cards is what `python -m tools.zoo.cards docs/reference/cards` writes."""
    assert (DOCS / "reference" / "cards" / f"{name}.md").read_text() == cards.card(name)


def test_results_page_is_that_of_the_cards(tmp_path):
    results.write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"results.md", *(p.name for p in MEASUREMENTS.glob("results_*.svg"))}
    for path in tmp_path.iterdir():
        assert (MEASUREMENTS / path.name).read_bytes() == path.read_bytes()


def test_readme_has_the_results():
    readme = (DOCS.parent / "README.md").read_text()
    assert [line for line in results.table() if line not in readme] == []
    assert results.goal() in readme
    other = re.search(r"quantization of the same network loses ([\d.]+) dB in RGB on Set5", readme)[1]
    (row,) = re.findall(r"^\| plain \(TensorFlow's own\) .*", (MEASUREMENTS / "quantization.md").read_text(), re.MULTILINE)
    assert row.endswith(f"| {other} |")


def test_reached_scores_are_computed():
    """By hand from xlsr_x3.json and the paper's 33.42 / 29.73 / 28.55."""
    said = " ".join(results.goal().split())
    for part in ("33.41 / 29.66 / 28.70 dB", "-0.01 / -0.07 / +0.15 dB", "0.025 / 0.020 / 0.011 dB", "254,000 steps on 565"):
        assert part in said


@pytest.mark.parametrize("name", ENTRIES)
def test_the_licence_is_that_of_the_training_images(name):
    card = zoo.card(name)
    training = card["training"]
    images = image_sets.of_training(training["stages"], training["start"])
    assert images.images in training["note"] or images.images in training["note"][0].lower() + training["note"][1:]
    assert (card["licence"], card["product"]) == (images.licence, images.product)
    counts = {(stage["data"]["images"], len(stage["data"]["held_out"])) for stage in training["stages"]}
    given, held_out = max(counts, key=lambda count: count[1])  # a fine-tuning may hold out fewer
    assert {number for number, _ in counts} == {given}
    assert f"{held_out} held out" in images.images or f"{held_out} of them held out" in images.images
    total = sum(map(int, re.findall(r"(\d+) (?:images|under)", images.images)))
    assert given == total - images.images.count("one duplicate left out")


def test_the_set_with_the_most_conditions_decides(monkeypatch):
    research, free = image_sets.read()
    assert (research.product, free.product) == (False, True)
    stages = [{"recipe": {"name": "a"}, "data": {"sha256": each.sha256[0]}} for each in (free, research)]
    assert image_sets.of_training(stages[:1], None) == free
    assert image_sets.of_training(stages, None) == research
    assert image_sets.of_training(stages[:1], {"name": "xlsr_x3"}).product == zoo.card("xlsr_x3")["product"]
    older = {"first": {"stages": stages[1:], "start": None}, "second": {"stages": stages[:1], "start": {"name": "first"}}}
    with monkeypatch.context() as patched:
        patched.setattr(zoo, "card", lambda name: {"training": older[name]})
        assert image_sets.of_training(stages[:1], {"name": "second"}) == research
    other = {"recipe": {"name": "b"}, "data": {"sha256": "0" * 64}}
    with pytest.raises(UserError, match=r"b: images of unknown licence .*; add their set to image_sets.json"):
        image_sets.of_training([*stages, other], None)


def test_published_rows_name_the_missing_figures():
    page = results.page()
    for row in (row for rows in published.ROWS.values() for row in rows):
        assert len(row.psnr) == len(zoo.SETS)
        assert row.note in page
    model = models.build({"network": "edsr", "scale": 4, "blocks": 16, "channels": 64})
    cost = models.multiply_adds(model, 320 * 180) / 1e9
    assert f"we count {model.count_params():,} and {cost:.1f} G" in page
    xlsr, own = published.XLSR_X3, zoo.card("xlsr_x3")
    assert xlsr.parameters == own["parameters"]
    assert xlsr.cost == pytest.approx(own["multiply_adds_720p"], rel=1e-3)


def test_bicubic_rows_are_those_of_the_protocol():
    text = (MEASUREMENTS / "bicubic.md").read_text()
    for scale, (bicubic, *_) in published.ROWS.items():
        for name, psnr in zip(zoo.SETS, bicubic.psnr, strict=True):
            assert f"| {name} | x{scale} | {psnr:.2f} /" in text


def test_only_paragraphs_are_wrapped():
    words, row = "word " * 30, "| cell " * 30
    assert (
        templates.wrap(f"# {words}\n\n{words}\n\n{row}")
        == f"# {words.strip()}\n\n" + ("word " * 24).strip() + "\n" + ("word " * 6).strip() + f"\n\n{row.strip()}"
    )


def test_every_network_has_a_task():
    for network in models.NETWORKS:
        if network not in models.SUPERNETS:  # never packaged
            assert cards.task({"network": network, "scale": 2})
    plain = cards.task({"network": "edsr", "scale": 2})
    assert "AdaDSR" not in plain
    assert "AdaDSR" in cards.task({"network": "edsr", "scale": 2, "depth": "input"})


@pytest.mark.parametrize("module", [cards, devices, pack, results], ids=lambda module: module.__name__)
@pytest.mark.parametrize("arguments", [[], ["--nosuch"]])
def test_bad_command_lines_are_reported_in_one_line(module, arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["x", *arguments])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"see python -m {module.__name__} --help" in error


_OPTIONS = {pack: ["--name", "x", "--data", "y"], other_quantizers: ["--data", "y"], devices: ["--data", "y"]}


@pytest.mark.parametrize("module", [cards, devices, other_quantizers, pack, results], ids=lambda module: module.__name__)
def test_help_and_impossible_combinations(module, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["x", "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
    assert module.__doc__.splitlines()[0] in capsys.readouterr().out
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setattr(sys, "argv", ["x", str(file)] + _OPTIONS.get(module, []))
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
