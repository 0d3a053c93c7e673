"""Contest scores: published ones and those of packaged files."""

import json

import numpy as np
import pytest

from mobile_sr.benchmarking import benchmark
from mobile_sr.challenge import challenge_scores
from mobile_sr.evaluation import evaluate
from mobile_sr.inference import upscaler


@pytest.mark.parametrize(
    ("psnr", "runtime_ms", "published"),
    [(29.58, 44.85, 51.02), (29.41, 38.32, 47.18), (29.52, 62.25, 33.82), (28.82, 76.61, 10.41), (28.92, 718.32, 1.28)],
)
def test_mobile_ai_2021_table(psnr, runtime_ms, published):
    """Table 3 of the XLSR paper (Ayazoglu, CVPRW 2021)."""
    assert challenge_scores.mai_2021(psnr, runtime_ms) == pytest.approx(published, abs=0.01)


def test_score_of_a_packaged_file(run_here, image_folder, tmp_path):
    file = tmp_path / "score.json"
    done = run_here(
        "score", "--model", "xlsr_x3:uint8", "--contest", "mai2021", "--data", image_folder, "--ms", "45", "--json", file
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    wanted = evaluate.evaluate(upscaler.load("xlsr_x3:uint8"), image_folder, "rgb")["mean"]["psnr"]
    assert found["psnr"] == pytest.approx(wanted)
    assert found["score"] == pytest.approx(2 ** (2 * wanted) / (2.815e14 * 45))
    assert f"{found['score']:.2f}" in done.stdout
    assert found["runtime_of"] == "given"


@pytest.mark.slow
def test_mlperf_uses_whole_images_and_measures(image_folder):
    found = challenge_scores.score("xlsr_x2:uint8", "mlperf", image_folder, runs=2)
    model, scores = upscaler.load("xlsr_x2:uint8"), []
    for _, hr, lr, _ in evaluate.each_pair(image_folder, 2, []):
        error = np.mean((model(lr).astype(float) - hr) ** 2)
        scores.append(10 * np.log10(255**2 / error))
    assert found["psnr"] == pytest.approx(np.mean(scores))
    assert found["valid"] == (np.mean(scores) >= 33)
    assert found["runtime_ms"] > 0
    assert "score" not in found


@pytest.fixture
def given(monkeypatch):
    """given(contest, psnr): a contest's result for given scores and times, and the calls that were made."""

    def score(contest, psnr):
        asked = []

        def evaluated(runner, data, space, progress, shave, ssim):
            asked.append((space, shave))
            return {"mean": {"psnr": psnr}, "images": [{"psnr": psnr}], "skipped": 0}

        def timed(models, size, *_, **__):
            asked.append(size)
            return {"results": [{"latency_ms": {"mean": 40.0, "p50": 39.0, "p90": 50.0}}], "environment": {"cpu": "x"}}

        monkeypatch.setattr(evaluate, "evaluate", evaluated)
        monkeypatch.setattr(benchmark, "benchmark", timed)
        return challenge_scores.score(f"xlsr_x{3 if contest == 'mai2021' else 2}:uint8", contest, "data"), asked

    return score


def test_mlperf_is_valid_from_33_db_on_and_timed_by_the_90th_percentile(given):
    found, asked = given("mlperf", 33.0)
    assert (found["valid"], found["runtime_ms"]) == (True, 50)
    assert asked == [("rgb", 0), (540, 960)]
    assert not given("mlperf", 32.99)[0]["valid"]


def test_mobile_ai_is_timed_by_the_mean_at_1080p(given):
    found, asked = given("mai2021", 29.0)
    assert (found["valid"], found["runtime_ms"]) == (True, 40)
    assert asked == [("rgb", 3), (360, 640)]
    assert found["score"] == pytest.approx(2**58 / (2.815e14 * 40))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "xlsr_x3:uint8", "--contest", "mlperf"], "upscales by 3; mlperf is for x2"),
        (["--model", "xlsr_x3:uint8", "--contest", "mai2021", "--ms", "0"], "--ms 0: must be above 0"),
        (["--model", "xlsr_x3:uint8", "--contest", "mai2021", "--runs", "0"], "--runs 0: must be at least 1"),
        (["--model", "xlsr_x3", "--contest", "mai2021"], "a .tflite is needed here; use xlsr_x3:uint8"),
    ],
)
def test_wrong_use(run_here, image_folder, arguments, said):
    done = run_here("score", *arguments, "--data", image_folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
