"""The Android benchmark app on one device: copies files to it, starts it by intent and fetches its result.

android_demo/README.md documents the app's side: the extras of the intent, the lines of its log, and its result.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import re
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_sr.benchmarking.adb import describe_failure
from mobile_sr.benchmarking.benchmark import FORMAT
from mobile_sr.errors import UserError
from mobile_sr.files import sha256

if TYPE_CHECKING:
    import subprocess
    from types import TracebackType

    from mobile_sr.benchmarking.adb import Adb

PACKAGE = "org.mobilesr.demo"
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


class App:
    """The app on one device. Leaving the `with` block stops it and removes our files from the device."""

    def __init__(self, adb: Adb, folder: Path) -> None:
        """Prepares the app.

        Args:
            adb: the device, on which the app is installed.
            folder: a temporary folder of this machine.
        """
        self.adb, self.folder = adb, folder
        self._properties = adb.properties()
        self._names: dict[str, str] = {}  # {SHA-256 of the content: file name on the device}
        self._internal: bool | None = None  # whether files go through run-as; None until known

    def __enter__(self) -> App:
        """Stops the app and removes what an earlier run left."""
        self._clean()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stops the app and removes our files."""
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
