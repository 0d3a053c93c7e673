"""Single operators on a phone, which fake_adb.py stands in for, and the latency table of a search made of them."""

import json

import pytest

from mobile_sr.architecture_search import latency_table, search
from mobile_sr.benchmarking import android_operators
from mobile_sr.benchmarking.adb import Adb
from mobile_sr.errors import UserError
from tests.mobile_sr.benchmarking.test_android import SERIAL, clean, phone, program  # noqa: F401  # fixtures


def cell_bytes(kind, inputs, outputs, size):
    """In place of a file: 1,000 bytes for each output channel of a convolution, 100 of others."""
    return f"{kind} {inputs} {size}".encode().ljust(outputs * (1000 if kind.startswith("conv") else 100), b".")


def test_each_file_is_timed_without_an_image(phone):  # noqa: F811
    phone.set(ms_per_byte=0.5)
    times, environment = android_operators.measure(Adb(SERIAL), [b"a" * 8, b"b" * 20], runs=3, warmup=1)
    assert times == [4.25, 10.25]  # medians of first, first + 1/4 and first + 1/2
    assert (environment["device"], environment["serial"], environment["where"]) == ("Pixel 8", SERIAL, "device")
    intents = phone.read()["intents"]
    expected = {"image": "generated:noise", "delegate": "cpu", "threads": 1, "runs": 3, "warmup": 1}
    assert [{key: intent[key] for key in expected} for intent in intents] == [expected] * 2
    assert not any("push" in words and words[-1].endswith(".png") for words in phone.read()["commands"])
    clean(phone)


@pytest.mark.parametrize("fault", [{"refuse": {"cpu": "out of memory"}}, {"damage": {"cpu": "samples"}}, {"lost": "start"}])
def test_an_operator_that_is_not_measured_ends_it(phone, fault):  # noqa: F811
    phone.break_(**fault)
    with pytest.raises(UserError) as error:
        android_operators.measure(Adb(SERIAL), [b"a"], runs=3)
    assert str(error.value).startswith(f"{SERIAL}: ")
    assert "\n" not in str(error.value)


def test_a_latency_table_of_a_phone(phone, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.setattr(latency_table, "operator_file", cell_bytes)
    phone.set(ms_per_byte=0.001)
    table = latency_table.measure(1, size=(6, 8), runs=1, device=Adb(SERIAL))
    assert table["grid"] == [0, 1]
    assert table["conv3x3"] == table["conv1x1"] == [[0, 0], [0, 1]]
    assert table["relu"] == table["tanh"] == [0, 0.1]
    assert table["add"] == [0, 0]  # as its file takes less time here than the convolution in it
    assert (table["size"], table["environment"]["serial"]) == ("8x6", SERIAL)
    (tmp_path / "table.json").write_text(json.dumps(table))
    assert latency_table.read(tmp_path / "table.json") == table
    clean(phone)


def search_words(image_folder, out, cache):
    words = ["search", "--recipe", "fgnas_mobile_x2", "--smoke", "--steps", "20", "--blocks", "1", "--channels", "2"]
    return [*words, "--data", image_folder, "--out", out, "--cache", cache]


def test_a_search_by_the_latency_of_a_phone(phone, run_here, image_folder, tmp_path, cache, monkeypatch):  # noqa: F811
    """Up to the search itself, which test_search.py runs with a table."""
    recipes = []
    monkeypatch.setattr(latency_table, "operator_file", cell_bytes)
    monkeypatch.setattr(search, "search", lambda recipe, *rest, **options: (recipes.append(recipe), None))
    phone.set(ms_per_byte=0.001)
    words = search_words(image_folder, tmp_path / "run", cache)
    done = run_here(*words, "--cost", "latency", "--device", "auto", "--budget", "90%")
    assert done.returncode == 0, done.stderr
    [recipe] = recipes
    assert recipe.network["cost"]["conv3x3"] == [[0, 0, 0], [0, 2, 3], [0, 2, 3]]  # the median of 9 is 1 ms later
    assert recipe.network["cost"]["environment"]["serial"] == SERIAL
    assert recipe.network["budget"] == pytest.approx(0.9)
    clean(phone)


def test_a_device_is_for_latency_only(phone, run_here, image_folder, tmp_path, cache):  # noqa: F811
    for extra in ([], ["--cost", "arm64"], ["--cost", "latency", "--table", "table.json"]):
        done = run_here(*search_words(image_folder, tmp_path / "run", cache), "--device", SERIAL, *extra)
        assert done.returncode == 2
        assert f"--device {SERIAL}: measures the table for --cost latency, without --table" in done.stderr
    assert phone.read()["commands"] == []
