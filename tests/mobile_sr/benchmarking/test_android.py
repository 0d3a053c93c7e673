"""`mobile-sr benchmark --device` with fake_adb.py in place of adb and a phone: full runs and failures of real devices."""

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from mobile_sr import cli, zoo
from mobile_sr.benchmarking import adb, android, android_app, benchmark
from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError
from mobile_sr.files import sha256_file
from tests import fake_adb, schema
from tests.conftest import ROOT

SERIAL = "39181FDJH00ABC"
SUBPROCESS = {"DEVNULL": subprocess.DEVNULL, "TimeoutExpired": subprocess.TimeoutExpired}
CONNECTED = [SERIAL, "device usb:1-4 product:shiba model:Pixel_8 device:shiba transport_id:3"]
UINT8 = zoo.FOLDER / "xlsr_x3_uint8.tflite"
EXCEPTION = [
    "FATAL EXCEPTION: benchmark",
    "Process: org.mobilesr.demo, PID: PID",
    "java.lang.IllegalStateException: no buffer",
    "\tat org.mobilesr.demo.Network.invoke(Network.java:99)",
]
SEGFAULT = [
    "*** *** *** *** *** *** *** *** *** *** *** *** *** *** *** ***",
    "pid: PID, tid: 4712, name: benchmark  >>> org.mobilesr.demo <<<",
    "signal 11 (SIGSEGV), code 1 (SEGV_MAPERR), fault addr 0x0000000000000000",
    "    x0  0000000000000000  x1  0000000000000001",
    "backtrace:",
    "      #00 pc 00000000000f2a10  /vendor/lib64/libOpenCL.so",
]


def manifest(version):
    """A compiled AndroidManifest.xml: no strings, their resource ids, and <manifest versionCode=...>."""
    ids = struct.pack("<HHI2I", 0x0180, 8, 16, 0x01010003, 0x0101021B)
    attribute = struct.pack("<IIIHBBI", 0, 1, 0xFFFFFFFF, 8, 0, 0x10, version)
    element = struct.pack("<IIIIHHHHHH", 1, 0xFFFFFFFF, 0xFFFFFFFF, 0, 20, 20, 1, 0, 0, 0) + attribute
    chunks = ids + struct.pack("<HHI", 0x0102, 16, 8 + len(element)) + element
    return struct.pack("<HHI", 3, 8, 8 + len(chunks)) + chunks


def make_apk(path, version):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("AndroidManifest.xml", manifest(version))
    return path


class Phone(fake_adb.Phone):
    """The stand-in, ready to use: connected, the app installed. `set` changes its state."""

    def __init__(self, folder):
        super().__init__(folder)
        for place in ("root/data/local/tmp", "root/sdcard/Android/data", f"root/data/data/{android.PACKAGE}", "desk"):
            (folder / place).mkdir(parents=True)
        program = folder / "desk" / "adb"
        program.write_text(f"#!{sys.executable} -IS\n" + Path(fake_adb.__file__).read_text())
        program.chmod(0o755)
        self.write({**fake_adb.FRESH, "devices": [CONNECTED], "packages": {android.PACKAGE: 1}, "apk_version": 1})

    def run(self, command, **options):
        """Replaces subprocess.run: does the program's work without starting it."""
        status, out, errors = self.adb(command[1:])
        return subprocess.CompletedProcess(command, status, out, errors)

    def set(self, **changes):
        self.write({**self.read(), **changes})

    def break_(self, **faults):
        self.set(faults=faults)

    def files(self):
        """All its files."""
        return [path.name for path in (self.folder / "root").rglob("*") if path.is_file()]

    def installs(self):
        return sum("install" in words for words in self.read()["commands"])


def test_the_default_apk_is_that_of_make_apk():
    assert android.APK == ROOT / "android_demo" / "build" / "apk" / "mobile-sr.apk"


@pytest.fixture
def program(tmp_path, monkeypatch):
    """The phone, with its adb as a program on PATH."""
    phone = Phone(tmp_path / "phone")
    monkeypatch.setenv("FAKE_PHONE", str(phone.folder))
    monkeypatch.setenv("PATH", f"{phone.folder / 'desk'}{os.pathsep}{os.environ['PATH']}")
    for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(android, "APK", tmp_path / "no.apk")
    monkeypatch.setattr(android_app, "_POLL_S", 0.01)
    monkeypatch.setattr(android_app, "_START_S", 0.3)
    return phone


@pytest.fixture
def phone(program, monkeypatch):
    """The phone without starting adb as a program: much faster than `program`."""
    monkeypatch.setattr(adb, "subprocess", SimpleNamespace(run=program.run, **SUBPROCESS))
    return program


@pytest.fixture
def bench(run_here, tmp_path):
    """Run `mobile-sr benchmark` on XLSR and the phone: (status, output, lines on standard error, JSON or None)."""

    def run(*options, models=("xlsr_x3:uint8",), serial=SERIAL, delegates="cpu", host=False):
        file = tmp_path / "out.json"
        words = [part for model in models for part in ("--model", str(model))] + ["--device", serial]
        defaults = {"--delegates": delegates, "--height": 20, "--width": 24, "--runs": 5, "--warmup": 1}
        words += [part for name, value in defaults.items() if name not in options for part in (name, str(value))]
        words += ["--json", str(file), *([] if host else ["--no-host"]), *map(str, options)]
        done = run_here("benchmark", *words)
        return done.returncode, done.stdout, done.stderr.splitlines(), json.loads(file.read_text()) if file.exists() else None

    return run


def refused(found, *parts):
    """Status 2, one line with all parts, and nothing written."""
    status, out, lines, written = found
    assert status == 2
    assert written is None
    assert out == ""
    assert len(lines) == 1, lines
    assert lines[0].startswith("mobile-sr benchmark: ")
    for part in parts:
        assert part in lines[0], lines[0]


def failed(phone, found, *parts, results=1):
    """Status 2, one line for the failed run, which is also in the table and the JSON; nothing is left on the phone."""
    status, out, lines, written = found
    assert status == 2
    assert len(lines) == 1, lines
    bad = [report["results"][0] for report in written["reports"] if report["results"][0]["error"]]
    assert len(bad) == 1
    assert len(written["reports"]) == results
    for part in parts:
        assert part in lines[0], lines[0]
        assert part in bad[0]["error"]
    assert bad[0]["latency_ms"] is None
    assert bad[0]["error"] in out
    assert "\n" not in bad[0]["error"]
    clean(phone)


def clean(phone):
    assert phone.files() == []
    assert phone.read()["pid"] is None


def test_host_and_device_in_one_report(phone, bench):
    """The host's rows are the host's, the device's are the device's, and all of it fits the published schema."""
    phone.break_(refuse={"nnapi": "nnapi took none of the 15 operators; nothing was measured"})
    models = ("xlsr_x3:uint8", "xlsr_x3:float32")
    status, out, lines, written = bench("--threads", 2, models=models, delegates="cpu,nnapi,gpu", host=True)
    assert status == 2
    assert [line.partition(": nnapi took")[0] for line in lines] == [f"mobile-sr benchmark: {m}, nnapi" for m in models]
    host, *reports = written["reports"]
    assert host["where"] == "host"
    assert "cpu" in host["environment"]
    assert [row["model"] for row in host["results"]] == list(models)
    rows = [report["results"][0] for report in reports]
    assert [(row["model"], row["requested_delegate"]) for row in rows] == [
        (m, d) for m in models for d in ("cpu", "nnapi", "gpu")
    ]
    for report, row in zip(reports, rows, strict=True):
        assert report["where"] == "device"
        assert report["environment"]["serial"] == SERIAL
        assert not {"cpu_ms", "ratio_to_first", "peak_memory_bytes"} & set(row)
        if row["requested_delegate"] == "nnapi":
            assert row["error"].startswith("nnapi took none")
            assert row["latency_ms"] is None
            continue
        assert row["samples_ms"] == [10, 10.25, 10.5, 10.75, 11]
        assert row["latency_ms"] == pytest.approx(benchmark.statistics(row["samples_ms"]))
        assert row["effective_delegate"] == row["requested_delegate"]
        assert row["size_bytes"] == zoo.resolve(row["model"]).stat().st_size
        assert (report["environment"]["width"], report["environment"]["height"]) == (24, 20)
    table, device_table = out.split(f"device {SERIAL}: Google Pixel 8, Android 14 (SDK 34), arm64-v8a; LiteRT 2.16.1\n")
    assert table.startswith("host: ")
    assert device_table.count("failed: nnapi took none of the 15 operators") == 2
    assert re.search(r"gpu +2 +gpu +10\.5 +10\.0 +10\.9 +7\.5 +123\.5 +13/15 +51\.5  xlsr_x3:uint8\n", device_table)
    clean(phone)
    schema.check(written)


def test_arguments_and_files_that_the_app_gets(phone, bench):
    phone.break_(polls=3)
    assert bench("--threads", 3, delegates="gpu_fp32,cpu")[0] == 0
    intents = phone.read()["intents"]
    assert [intent["delegate"] for intent in intents] == ["gpu_fp32", "cpu"]
    for intent in intents:
        assert {key: intent[key] for key in ("threads", "runs", "warmup")} == {"threads": 3, "runs": 5, "warmup": 1}
        assert "depth" not in intent
        assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,64}", intent[key]) for key in ("model", "image", "output"))
    assert intents[0]["output"] != intents[1]["output"]
    pushes = [words for words in phone.read()["commands"] if "push" in words]
    assert len(pushes) == 2  # a model and an image, each once
    assert not any("/sdcard" in word for words in pushes for word in words)  # refused by some Androids


def test_file_names_with_special_characters(program, bench, tmp_path):
    names = ["a b.tflite", "it's; touch $HOME.tflite", 'é "x" `id` && rm -rf *.tflite']
    models = [shutil.copy(UINT8, tmp_path / name) for name in names]
    status, _, lines, written = bench(models=models)
    assert (status, lines) == (0, [])
    assert [report["results"][0]["model"] for report in written["reports"]] == [str(model) for model in models]
    clean(program)


def test_a_desired_depth_reaches_the_app(phone, bench):
    model = zoo.resolve("adaedsr_b8_x2:float32")
    for options, depth in (((), 8.0), (("--depth", "1.5"), 1.5)):
        status, _, lines, written = bench(*options, models=[model])
        assert (status, lines) == (0, [])
        assert phone.read()["intents"][-1]["depth"] == depth
        assert written["reports"][0]["results"][0]["sha256"] == sha256_file(model)


def test_a_signature_reaches_the_app(phone, bench):
    """The app gets the whole file and chooses, the dense graph by default; the table names it."""
    model = zoo.resolve("adaedsr_b8_x2:float32")
    for option, signature in (("", "dense"), ("@signature=dense", "dense"), ("@signature=sparse", "sparse")):
        status, out, lines, written = bench(models=[f"{model}{option}"], delegates="cpu,gpu")
        assert (status, lines) == (0, [])
        intents = phone.read()["intents"][-2:]
        assert [intent.get("signature") for intent in intents] == [option and signature or None] * 2
        assert [report["results"][0]["signature"] for report in written["reports"]] == [signature] * 2
        assert out.count(f" (signature {signature})\n") == 2
        schema.check(written)


def test_another_signature_is_not_taken(phone, bench):
    phone.break_(damage={"cpu": "signature"})
    found = bench(models=["adaedsr_b8_x2:float32@signature=sparse"])
    failed(phone, found, "the app's result is damaged", "instead of sparse")


def test_run_as_is_used_where_the_external_folder_is_unreadable(phone, bench):
    phone.break_(external=1)
    status, _, lines, written = bench(delegates="cpu,gpu")
    assert (status, lines) == (0, [])
    assert [report["results"][0]["error"] for report in written["reports"]] == [None, None]
    left = [name for name in phone.files() if not name.endswith(".json")]
    assert left == []
    assert not (phone.folder / "root/data/data" / android.PACKAGE / "files/results").exists()


def test_neither_the_external_folder_nor_run_as(phone, bench):
    phone.break_(external=1, run_as=f"package not debuggable: {android.PACKAGE}")
    failed(phone, bench(), "not even by run-as", "package not debuggable")


def test_what_an_earlier_run_left_is_removed_and_nothing_else(phone, bench):
    models = phone.folder / "root/sdcard/Android/data" / android.PACKAGE / "files/models"
    models.mkdir(parents=True)
    (models / "mine.tflite").touch()
    (models / "mobile-sr-pc-00000000.tflite").touch()
    (phone.folder / "root/data/local/tmp/mobile-sr-pc-00000001.png").touch()
    assert bench()[0] == 0
    assert phone.files() == ["mine.tflite"]


def test_an_emulator_is_marked_as_one(phone, bench):
    phone.set(properties={"ro.hardware": "ranchu"}, faults={"refuse": {"gpu": "no"}})
    _, out, _, written = bench(delegates="cpu,gpu")
    assert [report["where"] for report in written["reports"]] == ["emulator", "emulator"]
    assert f"emulator {SERIAL}: " in out
    assert "(measured on an emulator)" in out


def test_doubtful_times_are_marked(phone, bench):
    phone.set(background=True, thermal="severe")
    _, out, _, _ = bench()
    assert "(the app was in the background: unlock the screen and leave it on; thermal status severe)" in out


# The desk: adb, the device, the app


def test_no_adb(program, bench, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    refused(bench(), "adb is neither on PATH nor in $ANDROID_HOME/platform-tools")
    sdk = tmp_path / "sdk/platform-tools"
    shutil.copytree(program.folder / "desk", sdk)
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path / "sdk"))
    assert bench()[0] == 0


def test_the_only_device(phone, bench):
    phone.set(daemon="* daemon not running; starting now at tcp:5037\n* daemon started successfully\n")
    assert bench(serial="auto")[0] == 0


@pytest.mark.parametrize(
    ("devices", "serial", "parts"),
    [
        ([], SERIAL, ["no device", "USB debugging"]),
        (
            [[SERIAL, "unauthorized usb:1-4 transport_id:3"]],
            SERIAL,
            [f"{SERIAL}: its state is unauthorized", "allow USB debugging"],
        ),
        ([[SERIAL, "offline usb:1-4 transport_id:3"]], "auto", [f"{SERIAL}: its state is offline", "adb reconnect offline"]),
        ([[SERIAL, "no permissions (verify udev rules); see [x] usb:1-4"]], SERIAL, ["is no permissions", "udev"]),
        ([[SERIAL, "recovery usb:1-4"]], SERIAL, ["its state is recovery", "start Android"]),
        (
            [CONNECTED, ["emulator-5554", "unauthorized"]],
            "auto",
            ["2 devices are connected", SERIAL, "emulator-5554 (unauthorized)"],
        ),
        (
            [CONNECTED, ["emulator-5554", "device"]],
            "R5CT",
            ["--device R5CT: not connected", f"{SERIAL} (device), emulator-5554"],
        ),
    ],
)
def test_no_device_that_can_be_used(phone, bench, devices, serial, parts):
    phone.set(devices=devices)
    refused(bench(serial=serial), *parts)


def test_two_devices_and_a_serial(phone, bench):
    phone.set(devices=[["emulator-5554", "device"], CONNECTED])
    assert bench()[0] == 0
    assert all(words[:2] == ["-s", SERIAL] or words[0] == "devices" for words in phone.read()["commands"])


def test_the_app_is_installed_when_absent_or_older(phone, bench, tmp_path):
    apk = make_apk(tmp_path / "new app.apk", 3)
    phone.set(apk_version=3)
    for installed, installs in ((None, 1), (2, 2), (3, 2), (4, 2)):
        phone.set(packages={} if installed is None else {android.PACKAGE: installed})
        assert bench("--apk", apk)[0] == 0
        assert phone.installs() == installs


def test_the_built_apk_is_found(phone, bench, tmp_path, monkeypatch):
    monkeypatch.setattr(android, "APK", make_apk(tmp_path / "built.apk", 1))
    phone.set(packages={})
    assert bench()[0] == 0
    assert phone.installs() == 1


def test_no_app_and_no_apk(phone, bench, tmp_path):
    phone.set(packages={})
    refused(bench(), f"{android.PACKAGE} is not installed", "make apk")
    refused(bench("--apk", tmp_path / "nothing.apk"), "nothing.apk: no such file", "make apk")
    (tmp_path / "text.apk").write_text("no zip")
    refused(bench("--apk", tmp_path / "text.apk"), "text.apk: not an APK")
    assert phone.installs() == 0


def test_another_app_is_no_benchmark_app(phone, bench, tmp_path):
    phone.set(packages={android.PACKAGE: 1})
    refused(bench("--apk", make_apk(tmp_path / "other.apk", 7)), "other.apk", "not the benchmark app?")


@pytest.mark.parametrize(
    ("failure", "part"),
    [
        (
            "INSTALL_FAILED_UPDATE_INCOMPATIBLE: Package org.mobilesr.demo signatures do not match newer version; ignoring!",
            f"adb -s {SERIAL} uninstall {android.PACKAGE}",
        ),
        ("INSTALL_FAILED_INSUFFICIENT_STORAGE", "storage is full"),
        ("INSTALL_FAILED_USER_RESTRICTED: Install canceled by user", "allow installation over USB"),
        ("INSTALL_PARSE_FAILED_NOT_APK: Failed to parse /data/app/base.apk", "Failed to parse"),
    ],
)
def test_a_refused_installation(phone, bench, tmp_path, failure, part):
    phone.set(packages={}, faults={"install": failure})
    refused(bench("--apk", make_apk(tmp_path / "a.apk", 1)), SERIAL, failure.partition(":")[0], part)


# On the way


def test_full_storage(phone, bench):
    phone.break_(full=1)
    failed(phone, bench(), SERIAL, "storage is full (No space left on device)")


@pytest.mark.parametrize("step", ["push", "start", "poll", "cat"])
def test_a_device_that_disconnects_during_a_run(phone, bench, step):
    phone.break_(lost=step)
    status, out, lines, written = bench(delegates="cpu,gpu")
    assert status == 2
    assert len(lines) == 2
    for line in lines:
        assert f"{SERIAL}: device disconnected (error: device '{SERIAL}' not found)" in line
    assert out.count("failed: ") == 2
    phone.set(devices=[CONNECTED], faults={})
    assert bench()[0] == 0  # which removes what stayed
    assert phone.files() == []
    schema.check(written)


@pytest.mark.parametrize(
    ("log", "parts"),
    [
        (EXCEPTION, ["the app crashed: java.lang.IllegalStateException: no buffer | at org.mobilesr.demo.Network.invoke"]),
        (SEGFAULT, ["the app crashed: signal 11 (SIGSEGV)", "| #00 pc 00000000000f2a10 /vendor/lib64/libOpenCL.so"]),
        ([line.replace(android.PACKAGE, "com.other") for line in SEGFAULT], ["ended without a result", "memory"]),
        ([], ["ended without a result", "memory"]),
    ],
    ids=["java", "native", "somebody else's", "none"],
)
def test_a_crash(phone, bench, log, parts):
    """It ends only its own run, and is not mistaken for an earlier crash."""
    phone.set(crashes=[line.replace("SIGSEGV", "SIGFPE") for line in SEGFAULT], faults={"crash": {"gpu": log}})
    found = bench(delegates="gpu,cpu")
    failed(phone, found, SERIAL, *parts, results=2)
    assert found[3]["reports"][1]["results"][0]["error"] is None


def test_a_run_that_hangs(phone, bench):
    phone.break_(hang=["gpu"])
    failed(phone, bench("--timeout", 0.2, delegates="gpu,cpu"), "no result within 0.2 s", "--timeout", results=2)


@pytest.mark.parametrize(
    ("how", "part"),
    [
        ("half", "the app's result is damaged"),
        ("empty", "the app's result is damaged"),
        ("list", "the app's result is damaged (TypeError"),
        ("samples", "damaged (ValueError: invalid times)"),
        ("sha256", "damaged (ValueError: sha256 000"),
        ("requested_delegate", "damaged (ValueError: requested_delegate 000"),
        ("host", "measured on 'host', not on a device: rejected"),
        ("fallback", "gpu was requested, but cpu ran: rejected"),
        ("format", "'mobile-sr benchmark 9'"),
    ],
)
def test_an_unusable_result(phone, bench, how, part):
    phone.break_(damage={"gpu": how})
    failed(phone, bench(delegates="cpu,gpu"), part, results=2)


def test_a_missing_result(phone, bench):
    phone.break_(dead_cat=1)
    failed(phone, bench(), "its result is missing")
    phone.break_(dead_cat=1, refuse={"cpu": "the result cannot be written: No space left on device"})
    failed(phone, bench(), "the result cannot be written: No space left on device")


def test_interrupted(program, tmp_path):
    """One line, no process keeps running, no file stays."""
    program.break_(hang=["cpu"])
    command = [sys.executable, "-m", "mobile_sr", "benchmark", "--model", "xlsr_x3:uint8", "--device", "auto", "--no-host"]
    command += ["--apk", str(make_apk(tmp_path / "app.apk", 1))]  # whether or not `make apk` was run here
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            end = time.monotonic() + 60
            while not program.read()["intents"]:
                assert time.monotonic() < end
                time.sleep(0.1)
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out, err.strip()) == (130, "", "mobile-sr benchmark: interrupted")
    clean(program)


# Options


def luma_file(path):
    """The name of a new .tflite that enlarges one channel."""
    import tensorflow as tf

    double = tf.function(lambda x: tf.image.resize(x, (40, 48))).get_concrete_function(tf.TensorSpec((1, 20, 24, 1)))
    with quiet():
        path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([double]).convert())
    return str(path)


def test_options_that_do_not_fit(phone, bench, capsys, tmp_path):
    refused(bench(delegates="cpu,dsp"), "--delegates: 'dsp' is not one of cpu, nnapi, gpu, gpu_fp32, npu")
    refused(bench("--threads", 17), "--threads 17: the app supports 1 to 16")
    refused(bench("--threads", "1,17"), "--threads 17: the app supports 1 to 16")
    refused(bench("--threads", "1,x"), "--threads 1,x: expected a number, or numbers separated by commas")
    refused(bench("--threads", "1,2", host=True), "--threads 1,2: several counts require --device and --no-host")
    refused(bench("--cool-down", -1), "--cool-down -1: must be at least 0")
    refused(bench("--runs", 10001), "--runs 10001")
    refused(bench("--timeout", 0), "--timeout 0")
    refused(bench("--layers"), "--layers", "--no-host")
    refused(bench("--height", 2000, "--width", 2000), "2000x2000", "tiles")
    refused(bench(models=["xlsr_x3:float32@range=1"]), "range=1", "does not support the option 'range'")
    refused(
        bench(models=[luma_file(tmp_path / "luma.tflite")]),
        "luma.tflite: the app runs RGB networks",
        "this file is Y alone, NHWC",
    )
    assert not android.SIGNATURE.fullmatch("a b; reboot")
    assert phone.read()["commands"] == []
    for option in (["--no-host"], ["--apk", "x"], ["--delegates", "cpu"], ["--timeout", "3"]):
        assert cli.main(cli._parse(["mobile-sr", "benchmark", "--model", "xlsr_x3:uint8", *option])) == 2
        assert capsys.readouterr().err == f"mobile-sr benchmark: {option[0]} requires --device\n"


def test_the_apk_that_make_built():
    """Its compiled manifest, as written by aapt2."""
    if not android.APK.is_file():
        pytest.skip("needs android_demo/build/apk/mobile-sr.apk: run `make apk`")
    said = (ROOT / "android_demo/app/build.gradle.kts").read_text()
    assert android.apk_version(android.APK) == int(re.search(r"versionCode = (\d+)", said)[1])


def test_a_manifest_without_a_version(tmp_path):
    with zipfile.ZipFile(tmp_path / "cut.apk", "w") as archive:
        archive.writestr("AndroidManifest.xml", manifest(1)[:40])
    with pytest.raises(UserError, match=r"cut\.apk: not an APK"):
        android.apk_version(tmp_path / "cut.apk")


def test_the_apps_own_result_fits_the_schema():
    """The app's code runs on this machine's Java."""
    file = ROOT / "android_demo/build/test/screens/result.json"
    if not file.is_file():
        pytest.skip("needs a result of the app: run `make test-android`")
    found = json.loads(file.read_text())
    assert found["where"] == "host"
    schema.check(found)
