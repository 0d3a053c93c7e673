"""virtual:arm64 under QEMU. Tests that need it are skipped unless `make arm64` was run."""

import os
import signal

import numpy as np
import pytest

from mobile_sr import zoo
from mobile_sr.benchmarking import virtual
from mobile_sr.devices import arm64, arm64_root
from mobile_sr.errors import UserError
from mobile_sr.imaging.sample_images import generated
from mobile_sr.inference import litert, model_files
from tests import schema


@pytest.fixture(scope="module")
def root():
    try:
        return arm64_root.find()
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def a76(root):
    return arm64.Arm64Device()


def opened(model, device):
    path, options = model_files.locate_tflite(model)
    return litert.TFLiteModel(path, 1, options, device)


def test_counts_and_bytes_of_xlsr(a76):
    report = virtual.measure(["xlsr_x3:uint8"], a76)
    schema.check(report)
    row = report["results"][0]
    assert row["instructions_per_lr_pixel"] == pytest.approx(4480, rel=0.01)  # measured with LiteRT 2.3.0
    assert row["instructions"] == round(64 * 64 * row["instructions_per_lr_pixel"])
    assert row["against_host"] == {"differing_fraction": 0, "max_difference": 0}
    residency = row["residency"]  # the conversions between uint8 and int8 at both ends are the interpreter's
    assert (residency["nodes"], residency["taken"], residency["partitions"]) == (15, 13, 1)
    assert list(residency["refused"]) == ["QUANTIZE 0", "QUANTIZE 14"]
    assert report["environment"]["label"] == a76.label


def test_operators_add_up_to_the_file(a76):
    report = virtual.measure(["espcn_x3:uint8"], a76, (16, 24), layers=True)
    schema.check(report)
    row = report["results"][0]
    layers = row["layers"]
    assert [layer["op"] for layer in layers] == [op.name for op in litert.parse_graph(zoo_file("espcn_x3").read_bytes()).ops]
    total = sum(layer["instructions"] for layer in layers)
    assert total == pytest.approx(row["instructions"], abs=5000)  # Python's own around `invoke`: 2,000 more when it is cold


def zoo_file(name):
    return model_files.locate_tflite(f"{name}:uint8")[0]


def same_bytes(device, path):
    model = opened(path, device)
    image = generated(48, 40)
    ours = model.run(image)
    model.close()
    return np.array_equal(ours, model.on_host.run(image))


@pytest.mark.parametrize("name", ["abpn_x3", "fsrcnn_x3"])
def test_same_bytes_as_on_this_machine(a76, name):
    assert same_bytes(a76, zoo_file(name))


@pytest.mark.slow
@pytest.mark.parametrize("cpu", arm64_root.CPUS)
def test_all_uint8_files_give_the_same_bytes_on_every_cpu(root, cpu):
    device = arm64.Arm64Device(cpu)
    files = sorted(zoo.FOLDER.glob("*_uint8.tflite"))
    assert len(files) > 6
    assert [path.name for path in files if not same_bytes(device, path)] == []


@pytest.mark.slow
@pytest.mark.parametrize(("cpu", "count"), [("cortex-a72", 9949), ("i8mm", 4230)])
def test_counts_of_other_cpus(root, cpu, count):
    report = virtual.measure(["xlsr_x3:uint8"], arm64.Arm64Device(cpu))
    assert report["results"][0]["instructions_per_lr_pixel"] == pytest.approx(count, rel=0.01)


@pytest.mark.slow
def test_one_process_serves_all_sizes_and_a_crash_is_one_line(root, a76):
    model = opened("espcn_x3:uint8", a76)
    model.run(generated(16, 16))
    process = a76.server()
    assert model.run(generated(20, 24)).shape == (60, 72, 3)
    assert a76.server() is process
    os.kill(process._process.pid, signal.SIGKILL)
    with pytest.raises(UserError, match=r"^virtual:arm64: .*espcn_x3_uint8.tflite .*signal SIGKILL$") as error:
        model.run(generated(16, 16))
    assert "\n" not in str(error.value)
    assert process._process.returncode == -signal.SIGKILL  # reaped
    model.close()
    assert np.array_equal(model.run(generated(16, 16)), model.on_host.run(generated(16, 16)))  # another process


def test_a_file_that_litert_refuses(a76):
    data = zoo_file("xlsr_x3").read_bytes()
    with pytest.raises(UserError, match=r"^virtual:arm64: bad.tflite with input shape"):
        a76.open(data, "bad.tflite", (1, 8, 8, 4))


def test_unknown_cpu():
    with pytest.raises(
        UserError, match=r"unknown CPU; virtual:arm64 has cortex-a76, cortex-a72, i8mm; did you mean cortex-a76\?"
    ):
        arm64.Arm64Device("cortex-a78")


def test_missing_requirements_name_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("MOBILE_SR_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="apt-get install qemu-user gcc"):
        arm64.Arm64Device()
    qemu = tmp_path / "qemu-aarch64"
    qemu.write_text("#!/bin/sh\necho 'qemu-aarch64 version 7.2.22 (Debian)'\n")
    qemu.chmod(0o755)
    with pytest.raises(UserError, match=r"no Arm system for LiteRT .*; run make arm64"):
        arm64.Arm64Device()
