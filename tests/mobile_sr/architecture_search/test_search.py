"""`mobile-sr search`: from a folder of images to an architecture, its compact network and the training of it."""

import json

import numpy as np
import pytest

from mobile_sr import cli, models
from mobile_sr.architecture_search import architecture, latency_table, search
from mobile_sr.errors import UserError
from mobile_sr.inference import weights
from mobile_sr.quantization import export
from mobile_sr.training import recipes, train_loop
from tests.conftest import assert_same_arrays


def recipe(budget="60%", steps=60, cost="multiply_adds", blocks=2):
    made = recipes.load("fgnas_mobile_x2", smoke=True, steps=steps)
    made.network["blocks"] = blocks
    made.validate_every, made.network["gate_rate"] = 20, 25.0
    search.set_cost(made, cost, budget)
    return made


@pytest.fixture(scope="module")
def finished(image_folder, tmp_path_factory, cache):
    """The run folder of a finished search. One block compiles in half the time of two."""
    out = tmp_path_factory.mktemp("search") / "run"
    search.search(recipe(blocks=1), image_folder, out, cache=cache)
    return out


def test_search_meets_its_budget_and_writes_architecture_and_network(finished):
    _, config = weights.load_model(finished / "best.npz")
    assert config["network"] == "fgnas"
    described = architecture.read(finished / "architecture.json")
    assert described == architecture.parts(config) == architecture.of_model(finished)
    full = search.cost_of(recipe(blocks=1), "full")
    model = models.build(config)
    assert models.multiply_adds(model, 1) <= 0.6 * full
    about = json.loads((finished / "architecture.json").read_text())
    assert about["multiply_adds_per_lr_pixel"] == models.multiply_adds(model, 1)
    assert about["parameters"] == model.count_params()
    history = (finished / "history.csv").read_text().splitlines()
    assert history[0].endswith("cost_share,multiply_adds_share,lambda,alive")


@pytest.mark.slow
def test_interrupted_search_resumes_to_the_same_result(finished, image_folder, tmp_path, cache):
    class Stop(search.SearchRun):
        def save(self):
            super().save()
            if self.step == 20:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_loop.train(recipe(blocks=1), image_folder, tmp_path, cache=cache, kind=Stop)
    search.search(recipe(blocks=1), image_folder, tmp_path, cache=cache, resume=True)
    assert architecture.read(tmp_path / "architecture.json") == architecture.read(finished / "architecture.json")
    assert_same_arrays(tmp_path / "best.npz", finished / "best.npz")


@pytest.mark.slow
def test_result_is_trained_further_also_at_another_scale(finished, image_folder, tmp_path, cache, capsys):
    for scale, init in ((2, finished), (3, tmp_path / "2")):
        made = recipes.load(f"fgnas_x{scale}", smoke=True, steps=2)
        made.validate_every = 2
        made.network |= architecture.of_model(init)
        train_loop.train(made, image_folder, tmp_path / str(scale), init=init, cache=cache)
        assert architecture.of_run(tmp_path / str(scale)) == architecture.of_model(finished)
    assert "the others are initialized from scratch" in capsys.readouterr().err  # the last convolution


def test_impossible_budget_is_refused():
    for budget in ("0.001G", "100G", "0%", "120%"):
        with pytest.raises(UserError, match="networks of this supernet cost between"):
            recipe(budget)
    for budget in ("much", "5T", "-1G", "."):
        with pytest.raises(UserError, match="expected a number"):
            recipe(budget)


@pytest.mark.slow
def test_missed_budget_is_an_error(image_folder, tmp_path, cache):
    with pytest.raises(UserError, match="the budget is not met after 4 steps: .* of the full cost remains"):
        search.search(recipe("20%", steps=4), image_folder, tmp_path, cache=cache)


def test_golden_costs_and_shares():
    """The minimum is one channel between two 3x3 convolutions, 3 -> 1 -> 12. Budgets are for a 1280x720 output."""
    for cost, minimum in (("multiply_adds", 27 + 108), ("parameters", 27 + 1 + 108 + 12), ("activations", 1 + 12)):
        assert search.cost_of(recipe(None, cost=cost), "minimum") == minimum
    share = recipe("0.47G").network["budget"]
    assert share == pytest.approx(0.47e9 / (search.cost_of(recipe(None), "full") * 640 * 360), rel=1e-9)


def test_budgets_in_all_units():
    for cost, budget in (("multiply_adds", "0.47G"), ("parameters", "2.4K"), ("activations", "8M")):
        share = recipe(budget, cost=cost).network["budget"]
        assert 0.3 < share < 0.8
    assert recipe("45%").network["budget"] == pytest.approx(0.45)


@pytest.mark.slow  # test_arm64.py has the costs
def test_instructions_of_an_arm_core_as_the_budget(image_folder, tmp_path, cache, run_here):
    """The searched network meets the budget by its own count; the budget is in instructions, K or %."""
    common = ["--recipe", "fgnas_mobile_x2", "--smoke", "--cost", "arm64", "--data", image_folder, "--cache", cache]
    fields = ["--set", "validate_every=10", "--set", "network.gate_rate=25", "--steps", 60, "--activations", "relu"]
    size = ["--channels", 24, "--blocks", 1]  # with a whole block of 16 outputs to remove
    done = run_here("search", *common, *fields, *size, "--budget", "2.6K", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    about = json.loads((tmp_path / "run" / "architecture.json").read_text())
    assert 0 < about["arm64_instructions_per_lr_pixel"] <= 2600
    assert {kind for block in about["blocks"] for kind in block["mix"]} == {"relu"}

    refused = run_here("search", *common, "--budget", "1200", "--out", tmp_path / "other")
    assert refused.returncode == 2
    assert "--cost arm64: has no figures for prelu; give --activations relu" in refused.stderr
    made = recipe(None)
    made.network["activations"] = ["relu"]
    full = search.cost_of(set_arm64(made, "50%"), "full")
    assert set_arm64(made, f"{full / 2}").network["budget"] == pytest.approx(0.5)
    for budget, message in (("8.5ms", "expected instructions per LR pixel"), ("100", "cost between .* and .* instructions")):
        with pytest.raises(UserError, match=message):
            set_arm64(made, budget)


def set_arm64(made, budget):
    search.set_cost(made, "arm64", budget)
    return made


@pytest.mark.slow
def test_latency_table_is_measured_and_used(image_folder, tmp_path, cache):
    table = latency_table.measure(8, size=(16, 16), runs=3)
    assert table["grid"] == [0, 1, 2, 4, 6, 8]
    assert np.asarray(table["conv3x3"]).shape == (6, 6)
    assert min(table["tanh"][1:]) > 0
    (tmp_path / "table.json").write_text(json.dumps(table))
    assert latency_table.read(tmp_path / "table.json") == table
    made = recipe(None, steps=20, cost=table)
    search.search(made, image_folder, tmp_path / "run", cache=cache)
    assert latency_table.read(tmp_path / "run" / "latency_table.json") == table
    (tmp_path / "table.json").write_text(json.dumps({**table, "tanh": [1]}))
    with pytest.raises(UserError, match="not a latency table"):
        latency_table.read(tmp_path / "table.json")


def test_edited_or_damaged_architecture_is_refused(finished, tmp_path):
    text = (finished / "architecture.json").read_text()
    for broken, message in (
        (text.replace('"head": ', '"head": 1'), "does not match its sha256|invalid architecture"),
        (text.replace('"blocks"', '"towers"'), "invalid architecture"),
        (text.replace('"pointwise": ', '"pointwise": -'), "pointwise must be a whole number"),
        ('{"head": 3}', "not an architecture file"),
        ("[", "not a JSON object"),
    ):
        (tmp_path / "a.json").write_text(broken)
        with pytest.raises(UserError, match=message):
            architecture.read(tmp_path / "a.json")
    with pytest.raises(UserError, match="does not contain an FGNAS network"):
        architecture.of_model("xlsr_x3")


@pytest.mark.slow
def test_smoke_search_closes_some_channels(image_folder, tmp_path, cache):
    made = recipes.load("fgnas_mobile_x2", smoke=True)
    assert made.steps == 200
    search.set_cost(made, "multiply_adds", "50%")
    search.search(made, image_folder, tmp_path, cache=cache)
    last = (tmp_path / "history.csv").read_text().splitlines()[-1].rpartition(",")[2]
    left = sum(int(n) for n in last.replace("|", " ").replace("-", " ").split()) / (8 * 8)
    assert 0.1 <= left <= 0.95


def test_command_sets_the_size_of_the_supernet(image_folder, tmp_path, cache, capsys):
    words = ["search", "--recipe", "fgnas_mobile", "--smoke", "--steps", "4", "--blocks", "1", "--channels", "5"]
    words = ["mobile-sr", *words, "--data", str(image_folder), "--out", str(tmp_path / "run"), "--cache", str(cache)]
    assert not cli.main(cli._parse(words))
    about = architecture.read(tmp_path / "run" / "architecture.json")
    assert (about["head"], len(about["blocks"])) == (5, 1)
    capsys.readouterr()
    assert cli.main(cli._parse([*words, "--resume", "--cost", "latency"])) == 2
    assert "the run is not a search by latency" in capsys.readouterr().err


def test_searched_network_is_exported_and_passes_the_audit(finished, tmp_path):
    export.export(finished / "best.npz", tmp_path, ["float32", "uint8"], methods=())
    for precision in ("float32", "uint8"):
        [file] = tmp_path.glob(f"*_{precision}.json")
        checks = json.loads(file.read_text())["audit"]["checks"]
        assert len(checks) > 3
        assert all(check["passed"] for check in checks)
