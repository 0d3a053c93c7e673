"""The matrix of a device's runs: which there are, waiting for a hot device, and the CSV."""

import csv
import io
import types

from mobile_sr.benchmarking import device_matrix
from tests.mobile_sr.benchmarking.test_android import SERIAL, bench, phone, program  # noqa: F401  # fixtures


def test_threads_concern_the_cpu():
    assert list(device_matrix.runs(["gpu", "cpu"], [4, 1])) == [("gpu", 4), ("cpu", 4), ("cpu", 1)]


def test_the_matrix_of_one_command(phone, bench, tmp_path):  # noqa: F811
    """Models x delegates x threads in one table, one JSON and one CSV; a delegate that fails stops nothing."""
    phone.break_(refuse={"nnapi": "nnapi took none"})
    table = tmp_path / "matrix.csv"
    models = ("xlsr_x3:uint8", "xlsr_x3:float32")
    status, out, lines, written = bench("--threads", "1,2,4", "--csv", table, models=models, delegates="cpu,nnapi,gpu")
    assert (status, len(lines)) == (2, 2)
    expected = [(m, d, n) for m in models for d, n in (("cpu", 1), ("cpu", 2), ("cpu", 4), ("nnapi", 1), ("gpu", 1))]
    results = [report["results"][0] for report in written["reports"]]
    assert [(row["model"], row["requested_delegate"], row["threads"]) for row in results] == expected
    assert [intent["threads"] for intent in phone.read()["intents"]] == [count for _, _, count in expected]
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert tuple(rows[0]) == device_matrix.COLUMNS
    assert [(row["model"], row["requested_delegate"], int(row["threads"])) for row in rows] == expected
    assert (rows[0]["p50_ms"], rows[0]["serial"], rows[0]["where"], rows[0]["error"]) == ("10.5", SERIAL, "device", "")
    assert (rows[3]["p50_ms"], rows[3]["error"]) == ("", "nnapi took none")
    assert [line.split()[:2] for line in out.splitlines() if line.startswith("       cpu")] == [["cpu", n] for n in "124"] * 2


def test_a_hot_device_cools_down_first(phone, bench, monkeypatch):  # noqa: F811
    monkeypatch.setattr(device_matrix, "_POLL_S", 0.001)
    phone.set(thermal_statuses=[3, 1])
    assert bench("--cool-down", 60)[0] == 0
    looks = [words[-1] for words in phone.read()["commands"] if "thermalservice" in words[-1]]
    assert looks == ["dumpsys thermalservice"] * 3


def test_the_wait_ends_at_its_limit(monkeypatch):
    monkeypatch.setattr(device_matrix, "_POLL_S", 0.001)
    hot = types.SimpleNamespace(shell=lambda *words: types.SimpleNamespace(stdout="Thermal Status: 4"))
    assert 0.02 <= device_matrix.cool_down(hot, 0.02) < 5
    assert device_matrix.cool_down(hot, 0) < 0.01
    old = types.SimpleNamespace(shell=lambda *words: types.SimpleNamespace(stdout="Can't find service: thermalservice"))
    assert device_matrix.cool_down(old, 60) < 5
