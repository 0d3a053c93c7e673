"""Driver of the Android benchmark app over adb: installs it, copies files, starts it by intent and fetches its results.

android_demo/README.md documents the app's side: the extras of the intent, the lines of its log, and its result.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import math
import re
import secrets
import struct
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_sr.benchmarking import device_matrix
from mobile_sr.benchmarking.adb import DeviceLost, describe_failure
from mobile_sr.benchmarking.benchmark import FORMAT, common_size, open_model
from mobile_sr.errors import UserError
from mobile_sr.files import sha256, sha256_file
from mobile_sr.imaging import sample_images
from mobile_sr.imaging.images import write_image
from mobile_sr.inference.model_files import locate
from mobile_sr.inference.tensor_layout import TensorLayout

if TYPE_CHECKING:
    import subprocess
    from types import TracebackType

    from mobile_sr.benchmarking.adb import Adb
    from mobile_sr.inference.litert import TFLiteModel

PACKAGE = "org.mobilesr.demo"
APK = Path(__file__).parents[2] / "android_demo" / "build" / "apk" / "mobile-sr.apk"  # written by `make apk`
DELEGATES = ("cpu", "nnapi", "gpu", "gpu_fp32")
LIMITS = {"threads": (1, 16), "runs": (1, 10000), "warmup": (0, 1000)}  # of the app
SIGNATURE = re.compile(r"[A-Za-z0-9_]{1,64}")  # names that the app accepts
MAX_PIXELS = 1 << 20  # the app cuts larger LR images into tiles
TIMEOUT_S = 600

_TAG = "MobileSR"
_FILES = f"/sdcard/Android/data/{PACKAGE}/files"
_TEMPORARY = "/data/local/tmp"
_PREFIX = "mobile-sr-pc-"  # prefix of our files on the device; all files with it are removed
_KINDS = ("models", "images", "results")
_STATISTICS = ("min", "mean", "p50", "p90", "p99", "std")
_EMULATORS = re.compile(r"goldfish|ranchu|cutf.*|vbox.*")  # values of ro.hardware, as in the app
_CRASH_LINE = re.compile(r"^(signal \d+ |Abort message|#\d+ pc |at |[\w.$]+(Error|Exception)\b)")
_POLL_S = 1.0
_START_S = 20.0  # within which the app's process must exist


def install(adb: Adb, apk: str | Path | None = None) -> int:
    """Installs the app unless the installed one is at least as new as the APK.

    Args:
        adb: the device.
        apk: the APK file; None means APK if that exists.

    Returns:
        The installed versionCode.

    Raises:
        UserError: there is neither an installed app nor an APK, or the installation fails.
    """
    if apk is not None and not Path(apk).is_file():
        raise UserError(f"{apk}: no such file; `make apk` builds the app")
    file = Path(apk) if apk is not None else APK if APK.is_file() else None
    installed = adb.version_code(PACKAGE)
    if file is None:
        if installed is None:
            raise UserError(
                f"{adb.serial}: the app {PACKAGE} is not installed and {APK} does not exist: run `make apk` or give --apk"
            )
        return installed
    offered = apk_version(file)
    if installed is None or installed < offered:
        adb.install(file, PACKAGE)
        installed = adb.version_code(PACKAGE)
    if installed is None or installed < offered:
        raise UserError(f"{file}: installed, but {PACKAGE} does not have version {offered}: not the benchmark app?")
    return installed


def apk_version(path: str | Path) -> int:
    """Returns the versionCode in an APK's compiled manifest. Raises UserError if the file is not an APK."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _version_code(archive.read("AndroidManifest.xml"))
    except (OSError, zipfile.BadZipFile, KeyError, struct.error, StopIteration) as error:
        raise UserError(f"{path}: not an APK ({type(error).__name__}: {error})") from None


def _version_code(xml: bytes) -> int:
    """Returns android:versionCode (resource 0x0101021b) of Android's binary XML: chunks of type, header size and size."""
    ids: tuple[int, ...] = ()
    offset = 8
    while True:
        kind, header, size = struct.unpack_from("<HHI", xml, offset)
        if kind == 0x0180:  # resource ids of the first strings
            ids = struct.unpack_from(f"<{(size - header) // 4}I", xml, offset + header)
        if kind == 0x0102:  # an element: start, length and number of its attributes
            start, length, count = struct.unpack_from("<HHH", xml, offset + header + 8)
            for k in range(count):
                _, name, _, _, _, _, value = struct.unpack_from("<IIIHBBI", xml, offset + header + start + k * length)
                if name < len(ids) and ids[name] == 0x0101021B:
                    return value
        if size < 8:
            raise struct.error(f"a chunk of {size} bytes")
        offset += size


def check(
    models: Sequence[str],
    delegates: Sequence[str],
    size: tuple[int, int] | None,
    threads: int | Sequence[int],
    runs: int,
    warmup: int,
) -> tuple[list[TFLiteModel], tuple[int, int]]:
    """Checks the arguments of `measure` without a device.

    Args:
        models, delegates, size, threads, runs, warmup: as `measure`.

    Returns:
        (opened files, LR (H, W)).

    Raises:
        UserError: the app does not support an argument.
    """
    counts = [threads] if isinstance(threads, int) else list(threads)
    for name, value in (*(("threads", count) for count in counts), ("runs", runs), ("warmup", warmup)):
        minimum, maximum = LIMITS[name]
        if not minimum <= value <= maximum:
            raise UserError(f"--{name} {value}: the app supports {minimum} to {maximum}")
    for delegate in delegates:
        if delegate not in DELEGATES:
            raise UserError(f"--delegates: '{delegate}' is not one of {', '.join(DELEGATES)}")
    files = [open_model(model, counts[0]) for model in models]
    height, width = size = common_size(files, size)
    if height * width > MAX_PIXELS and not all(file.fixed for file in files):
        raise UserError(f"{width}x{height} (width x height): the app cuts LR images above {MAX_PIXELS} pixels into tiles")
    for model, file in zip(models, files, strict=True):
        if file.layout != TensorLayout():
            what = f"{'RGB' if file.layout.channels == 3 else 'Y alone'}, {str(file.layout).upper()}"
            raise UserError(f"{model}: the app runs RGB networks with channels last (NHWC) only; this file is {what}")
        options = locate(model)[1]
        others = set(options) - {"desired_depth", "signature"}
        if others:
            raise UserError(f"{model}: the app does not support the option '{sorted(others)[0]}'")
        if not SIGNATURE.fullmatch(options.get("signature", "none")):
            raise UserError(f"{model}: the app supports only signatures of 1 to 64 letters, digits or '_'")
    return files, size


def measure(
    adb: Adb,
    models: Sequence[str],
    delegates: Sequence[str],
    size: tuple[int, int] | None = None,
    threads: int | Sequence[int] = 1,
    runs: int = 20,
    warmup: int = 3,
    timeout: float = TIMEOUT_S,
    progress: Callable[[int, str], object] | None = None,
    cool_down: float = 0,
) -> list[dict[str, Any]]:
    """Measures each file with each delegate, and on the CPU with each number of threads, on a device that has the app.

    Args:
        adb: the device.
        models: .tflite files or packaged ones ('xlsr_x3:uint8'), with options after '@'.
        delegates: delegates of DELEGATES.
        size: LR (H, W); None means the fixed size of the files that have one, else DEFAULT_SIZE.
        threads: CPU threads, or several counts of them for the delegate cpu. Other delegates run with the first one.
        runs: timed runs.
        warmup: untimed runs before them.
        timeout: seconds for one report.
        progress: called with (seconds, description of the current run).
        cool_down: maximum seconds to wait before each run until the device's thermal status is none.

    Returns:
        One report for each model, delegate and number of threads, see docs/reference/benchmark.schema.json. A failed one has
        an "error".

    Raises:
        UserError: as `check`, or the device was disconnected before anything ran.
    """
    files, size = check(models, delegates, size, threads, runs, warmup)
    counts = [threads] if isinstance(threads, int) else list(threads)
    reports: list[dict[str, Any]] = []
    lost: DeviceLost | None = None
    with tempfile.TemporaryDirectory() as folder, _App(adb, Path(folder)) as app:
        write_image(app.folder / "image.png", sample_images.generated(*size))
        image = (app.folder / "image.png").read_bytes()
        for model, file in zip(models, files, strict=True):
            assert file.path is not None  # `check` opens paths
            data = file.path.read_bytes()
            for delegate, count in device_matrix.runs(delegates, counts):
                asked = {"threads": count, "runs": runs, "warmup": warmup}
                try:
                    if lost:
                        raise lost
                    device_matrix.cool_down(adb, cool_down, functools.partial(_report_progress, progress, "s cooling down"))
                    extras: dict[str, Any] = {
                        "model": app.put(data, "models", ".tflite"),
                        "image": app.put(image, "images", ".png"),
                    }
                    extras |= {"delegate": delegate, **asked, **_depth(model, file), **_signature(model)}
                    report_progress = functools.partial(_report_progress, progress, f"s {delegate} {model}")
                    report = app.run(extras, sha256(data), timeout, report_progress)
                except UserError as error:
                    lost = error if isinstance(error, DeviceLost) else lost
                    report = app.failed(delegate, asked, str(error))
                report["environment"]["serial"] = adb.serial
                facts = {"model": str(model), "sha256": sha256_file(file.path), "size_bytes": file.path.stat().st_size}
                report["results"][0] |= facts
                reports.append(report)
    return reports


def _report_progress(progress: Callable[[int, str], object] | None, what: str, seconds: int) -> None:
    if progress:
        progress(seconds, what)


def _depth(model: str, file: TFLiteModel) -> dict[str, float]:
    """Returns the extra for a file with a desired depth: the option's value, else all blocks."""
    depth = locate(model)[1].get("desired_depth", file.adjustable.limits[1] if file.adjustable else None)
    return {} if depth is None else {"depth": float(depth)}


def _signature(model: str) -> dict[str, str]:
    """Returns the extra for a requested signature. By default the app runs the dense graph, which every delegate supports."""
    name = locate(model)[1].get("signature")
    return {} if name is None else {"signature": name}


class _App:
    """The app on one device. Leaving the `with` block stops it and removes our files from the device."""

    def __init__(self, adb: Adb, folder: Path) -> None:
        self.adb, self.folder = adb, folder
        self._properties = adb.properties()
        self._names: dict[str, str] = {}  # {SHA-256 of the content: file name on the device}
        self._internal: bool | None = None  # whether files go through run-as; None until known

    def __enter__(self) -> _App:
        self._clean()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(UserError):  # device disconnected; the next run removes the files
            self._clean()

    def _clean(self) -> None:
        self._stop()
        outside = [f"{_FILES}/{kind}/{_PREFIX}*" for kind in _KINDS]
        self.adb.run("shell", " ".join(["rm -f", f"{_TEMPORARY}/{_PREFIX}*", *outside]))
        inside = " ".join(["rm -f", *(f"files/{kind}/{_PREFIX}*" for kind in _KINDS), *outside])
        self._run_as("sh", "-c", f"{inside}; rmdir files/results")

    def _stop(self) -> None:
        self.adb.shell("am", "force-stop", PACKAGE)

    def _run_as(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.adb.shell("run-as", PACKAGE, *words)

    def put(self, data: bytes, kind: str, suffix: str) -> str:
        """Copies bytes into the app's folder `kind`. Returns their file name there. Raises UserError if that fails."""
        key = sha256(data)
        if key not in self._names:
            name = f"{_PREFIX}{secrets.token_hex(4)}{suffix}"
            local, temporary = self.folder / name, f"{_TEMPORARY}/{name}"
            local.write_bytes(data)
            try:
                self.adb.push(local, temporary)
                self._copy(temporary, kind, name)
            finally:
                self.adb.shell("rm", "-f", temporary)
            self._names[key] = name
        return self._names[key]

    def _copy(self, temporary: str, kind: str, name: str) -> None:
        """Copies from the shell's folder to the app's: the external folder, or the internal one by run-as if that fails.

        Some devices with Android 11 or newer refuse `adb push` to the external folder itself.
        """
        if self._internal is None:
            self._internal = not self._has_folders()
        if not self._internal:
            done = self.adb.shell("cp", temporary, f"{_FILES}/{kind}/{name}")
            if "No space left" in done.stderr:
                raise UserError(f"{self.adb.serial}: its storage is full (No space left on device); free some space")
            self._internal = done.returncode != 0
        if self._internal:
            self.adb.shell("chmod", "644", temporary)
            made = self._run_as("mkdir", "-p", *(f"files/{kind}" for kind in _KINDS))
            done = made if made.returncode else self._run_as("cp", temporary, f"files/{kind}/{name}")
        if done.returncode:
            raise UserError(
                f"{self.adb.serial}: the app's folder is not writable, not even by run-as: {describe_failure(done)}"
            )

    def _has_folders(self) -> bool:
        """Returns whether the shell sees the app's external folders. The app must create them to own them."""
        folders = [f"{_FILES}/{kind}" for kind in ("models", "images")]
        if self.adb.shell("ls", "-d", *folders).returncode == 0:
            return True
        self.adb.shell("am", "start", "-n", f"{PACKAGE}/.MainActivity")
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            if self.adb.shell("ls", "-d", *folders).returncode == 0:
                return True
            time.sleep(_POLL_S)
        return False

    def run(self, extras: dict[str, Any], digest: str, timeout: float, progress: Callable[[int], object]) -> dict[str, Any]:
        """Runs one benchmark in a fresh process and returns the app's report.

        Args:
            extras: extras of the intent, without the output's name.
            digest: hex SHA-256 of the model's bytes.
            timeout: seconds.
            progress: called with the seconds since the start.

        Raises:
            UserError: there is no valid report; the message gives the reason.
        """
        output = f"{_PREFIX}{secrets.token_hex(4)}"
        self._stop()
        earlier, words = self._crashes(), []
        for key, value in {**extras, "output": output}.items():
            words += [{str: "--es", int: "--ei", float: "--ef"}[type(value)], key, value]
        action = f"{PACKAGE}.BENCHMARK"
        started = self.adb.shell("am", "start", "-n", f"{PACKAGE}/.Benchmark", "-a", action, *words)
        if started.returncode or re.search(r"^Error", started.stdout + started.stderr, re.MULTILINE):
            raise UserError(f"{self.adb.serial}: the app cannot be started: {describe_failure(started)}")
        reason = self._wait(output, earlier, timeout, progress)
        report = self._fetch(output)
        if report is None:
            raise UserError(f"{self.adb.serial}: {reason or 'the app finished, but its result is missing'}")
        try:
            _check_report(report, extras, digest)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{self.adb.serial}: the app's result is damaged ({type(error).__name__}: {error})") from None
        return report

    def _wait(self, output: str, earlier: str, timeout: float, progress: Callable[[int], object]) -> str | None:
        """Waits until the log reports the end. Returns the reason for a failure, else None. Raises UserError."""
        start, was_seen = time.monotonic(), False
        while True:
            running = self.adb.shell("pidof", PACKAGE).returncode == 0
            log = self.adb.shell("logcat", "-d", "-v", "raw", "-s", _TAG).stdout
            markers = re.findall(rf"^BENCHMARK (\w+) output={output}(?: reason=(.*?))?\r?$", log, re.MULTILINE)
            for word, reason in markers:
                if word != "STARTED":
                    return None if word == "DONE" else reason or "the app gives no reason"
            elapsed, was_seen = time.monotonic() - start, was_seen or running or bool(markers)
            if not running and (was_seen or elapsed > _START_S):
                raise UserError(f"{self.adb.serial}: {self._crash(earlier)}")
            if elapsed > timeout:
                raise UserError(f"{self.adb.serial}: no result within {timeout:g} s; increase --timeout or reduce --runs")
            progress(int(elapsed))
            time.sleep(_POLL_S)

    def _crashes(self) -> str:
        return self.adb.shell("logcat", "-d", "-b", "crash", "-v", "raw").stdout

    def _crash(self, earlier: str) -> str:
        """Returns the new part of the crash log, in one line."""
        log = self._crashes()
        _, match, text = log.removeprefix(earlier).partition(PACKAGE)
        if not match:
            return "the app ended without a result and without a crash log; Android may have stopped it because memory was low"
        lines = [" ".join(line.split()) for line in text.splitlines()]
        matches = [line for line in lines if _CRASH_LINE.match(line)]
        return f"the app crashed: {' | '.join(matches[:3]) or 'its log has no details'}"[:500]

    def _fetch(self, output: str) -> dict[str, Any] | None:
        """Returns the result's JSON, or None if there is no file. Raises UserError if it is damaged."""
        locations = ((self.adb.shell, _FILES), (self._run_as, "files"), (self._run_as, _FILES))
        for run, folder in locations:
            done = run("cat", f"{folder}/results/{output}.json")
            if done.returncode == 0:
                try:
                    return json.loads(done.stdout)
                except ValueError as error:
                    raise UserError(f"{self.adb.serial}: the app's result is damaged ({error})") from None
        return None

    def failed(self, delegate: str, asked: dict[str, int], reason: str) -> dict[str, Any]:
        """Returns the report of a failed run; its facts about the device come from the device's properties."""
        get, sdk = self._properties.get, self._properties.get("ro.build.version.sdk", "")
        environment = {
            "device": get("ro.product.model"),
            "manufacturer": get("ro.product.manufacturer"),
            "android": get("ro.build.version.release"),
            "sdk": int(sdk) if sdk.isdecimal() else None,
            "abi": get("ro.product.cpu.abi"),
            **dict.fromkeys(("cores", "app_version", "litert", "width", "height")),
            **asked,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            **dict.fromkeys(("thermal", "background")),
        }
        unknown = ("signature", "effective_delegate", "delegated_nodes", "nodes", "init_ms", "first_ms", "latency_ms")
        result: dict[str, Any] = {
            "threads": asked["threads"],
            "requested_delegate": delegate,
            **dict.fromkeys(unknown),
            "samples_ms": [],
            **dict.fromkeys(("memory_pss_bytes", "psnr_vs_cpu", "psnr_vs_reference")),
            "error": " ".join(reason.split()),
        }
        where = "emulator" if _EMULATORS.fullmatch(get("ro.hardware", "")) else "device"
        return {"format": FORMAT, "where": where, "environment": environment, "results": [result]}


def _check_report(report: dict[str, Any], extras: Mapping[str, Any], digest: str) -> None:
    """Raises UserError, KeyError, TypeError or ValueError unless the report matches the request and comes from a device."""
    if report["format"] != FORMAT:
        raise UserError(f"the app writes '{report['format']}' instead of '{FORMAT}': install the app of this version")
    if report["where"] not in ("device", "emulator"):
        raise UserError(f"the result was measured on '{report['where']}', not on a device: rejected")
    [result] = report["results"]
    if not isinstance(report["environment"], dict):
        raise ValueError("no environment")
    expected = {"requested_delegate": extras["delegate"], "threads": extras["threads"]}
    if result["error"] is None:
        expected["sha256"] = digest
        if "signature" in extras and result["signature"] is not None:  # the app reports none if there is no choice
            expected["signature"] = extras["signature"]
    for key, value in expected.items():
        if result[key] != value:
            raise ValueError(f"{key} {result[key]} instead of {value}")
    if result["error"] is not None:
        if not isinstance(result["error"], str) or result["latency_ms"] is not None or result["samples_ms"]:
            raise ValueError("both an error and times")
        return
    if result["effective_delegate"] != extras["delegate"] and extras["delegate"] != "cpu":
        raise UserError(f"{extras['delegate']} was requested, but {result['effective_delegate']} ran: rejected")
    numbers = [result["latency_ms"][key] for key in _STATISTICS] + result["samples_ms"] + [result["init_ms"]]
    if len(result["samples_ms"]) != extras["runs"] or not all(_is_time(number) for number in numbers):
        raise ValueError("invalid times")


def _is_time(number: Any) -> bool:
    return isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number) and number >= 0
