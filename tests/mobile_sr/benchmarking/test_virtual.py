import json

import pytest

import mobile_sr
from mobile_sr.devices.device import Residency
from tests import schema
from tests.mobile_sr.devices import fake_device


@pytest.fixture
def fake(monkeypatch):
    """The devices virtual:fake and virtual:compiler."""
    fake_device.register(monkeypatch)


def test_benchmark(fake, run_here):
    both = ["--model", "espcn_x3:uint8", "--model", "xlsr_x3:uint8"]
    result = run_here("benchmark", *both, "--device", "virtual:fake", "--json", "-")
    assert result.returncode == 0, result.stderr
    assert "espcn_x3:uint8: not supported: DEPTH_TO_SPACE 2: not in the list" in result.stderr
    assert "espcn_x3:uint8: cycles 7" in result.stderr

    report = json.loads(result.stdout)
    schema.check(report)
    assert (report["where"], report["environment"]["height"]) == ("virtual", 64)
    row = report["results"][0]
    assert row["residency"] == {
        "nodes": 3,
        "taken": 2,
        "refused": fake_device.FakeSession.residency.refused,
        "partitions": None,
    }
    assert row["against_host"] == {"differing_fraction": pytest.approx(1, abs=0.01), "max_difference": 1}
    assert (row["instructions"], row["ratio_to_first"], row["figures"]) == (None, None, {"cycles": 7})


def test_instructions_are_compared_with_the_first_model(fake, monkeypatch):
    monkeypatch.setattr(fake_device.FakeSession, "facts", lambda session: {"instructions": len(session.model.data)})
    report = mobile_sr.benchmark(["xlsr_x3:uint8", "espcn_x3:uint8"], device="virtual:fake", size=(16, 24)).to_dict()
    first, second = (row["size_bytes"] for row in report["results"])
    assert [row["instructions"] for row in report["results"]] == [first, second]
    assert [row["ratio_to_first"] for row in report["results"]] == [1, pytest.approx(second / first)]
    assert abs(second / first - 1) > 0.01


def test_many_refused_operators(fake, run_here, monkeypatch):
    refused = {f"CAST {k}": "unknown" for k in range(13)}
    monkeypatch.setattr(fake_device.FakeSession, "residency", Residency(20, 7, refused))
    result = run_here("benchmark", "--model", "espcn_x3:uint8", "--device", "virtual:fake")
    lines = [line for line in result.stdout.splitlines() if "not supported" in line]
    assert len(lines) == 11
    assert lines[9:] == ["espcn_x3:uint8: not supported: CAST 9: unknown", "espcn_x3:uint8: not supported: 3 more, see --json"]


def test_benchmark_of_a_compiler(fake):
    result = mobile_sr.benchmark("espcn_x3:uint8", device="virtual:compiler", size=(16, 24))
    schema.check(result.to_dict())
    row = result.record["results"][0]
    assert (row["against_host"], row["figures"]) == (None, {"cycles": 7})
    assert result.rows()[1] == [["espcn_x3:uint8", "-", "2 of 3", "-"]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "virtual:fake", "--runs", 5], "--runs does not apply to --device virtual:fake"),
        (["--device", "virtual:fake", "--threads", 2], "--threads does not apply"),
        (["--device", "virtual:fake", "--warmup", 0], "--warmup does not apply"),
        (["--device", "virtual:fake", "--delegates", "gpu"], "--delegates does not apply"),
        (["--device", "virtual:fake", "--no-host"], "--no-host does not apply"),
        (
            ["--device", "virtual:fake", "--layers"],
            "--layers: virtual:fake does not count instructions; use virtual:arm64",
        ),
        (["--device", "virtual:fake", "--height", 0, "--width", 4], "--height 0: must be at least 1"),
        (["--device", "R58M", "--cpu", "i8mm"], "--cpu and --soc are for virtual devices, not for --device R58M"),
        (["--soc", "v73"], "--soc requires --device"),
    ],
)
def test_benchmark_refuses(fake, run_here, options, message):
    result = run_here("benchmark", "--model", "espcn_x3:uint8", *options)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert message in result.stderr
