"""The Android benchmark app, driven over adb: install it, bring it files, start it by intent, fetch what it measured.

android_demo/README.md has the app's side: the intent's extras, the lines of its log, its result.
"""

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
from pathlib import Path

from mobile_sr.benchmarking.adb import DeviceLost, said
from mobile_sr.benchmarking.benchmark import FORMAT, common_size, open_model
from mobile_sr.errors import UserError
from mobile_sr.files import sha256, sha256_file
from mobile_sr.imaging.images import write_image
from mobile_sr.imaging.sample_images import picture
from mobile_sr.inference.model_files import locate

PACKAGE = "org.mobilesr.demo"
APK = Path(__file__).parents[1] / "android_demo" / "build" / "apk" / "mobile-sr.apk"  # where `make apk` puts it
DELEGATES = ("cpu", "nnapi", "gpu", "gpu_fp32")
LIMITS = {"threads": (1, 16), "runs": (1, 10000), "warmup": (0, 1000)}  # the app's
SIGNATURE = re.compile(r"[A-Za-z0-9_]{1,64}")  # the names that the app takes
MOST_PIXELS = 1 << 20  # the app cuts larger LR images into tiles
TIMEOUT_S = 600

_TAG = "MobileSR"
_FILES = f"/sdcard/Android/data/{PACKAGE}/files"
_TEMPORARY = "/data/local/tmp"
_MINE = "mobile-sr-pc-"  # what names of files on the device begin with; everything of that name is removed
_KINDS = ("models", "images", "results")
_STATISTICS = ("min", "mean", "p50", "p90", "p99", "std")
_EMULATORS = re.compile(r"goldfish|ranchu|cutf.*|vbox.*")  # ro.hardware, as the app tells them
_CRASH_LINE = re.compile(r"^(signal \d+ |Abort message|#\d+ pc |at |[\w.$]+(Error|Exception)\b)")
_POLL_S = 1.0
_START_S = 20.0  # within which the app's process is there


def install(adb, apk=None):
    """Make sure that the app is there and not older than the APK.

    Args:
        adb: Adb. apk: the file; None means APK where that exists.
    Returns: the versionCode that is installed.
    Raises: UserError when there is neither app nor APK, or the device refuses it.
    """
    if apk is not None and not Path(apk).is_file():
        raise UserError(f"{apk}: no such file; `make apk` builds the app")
    file = Path(apk) if apk is not None else APK if APK.is_file() else None
    installed = adb.version_code(PACKAGE)
    if file is None:
        if installed is None:
            raise UserError(
                f"{adb.serial}: the app {PACKAGE} is not installed, and there is no {APK}: run `make apk`, or give --apk"
            )
        return installed
    offered = apk_version(file)
    if installed is None or installed < offered:
        adb.install(file, PACKAGE)
        installed = adb.version_code(PACKAGE)
    if installed is None or installed < offered:
        raise UserError(f"{file}: after its installation {PACKAGE} is not there in version {offered}: not the benchmark app?")
    return installed


def apk_version(path):
    """The versionCode in an APK's compiled manifest. Raises: UserError when the file is no APK."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _version_code(archive.read("AndroidManifest.xml"))
    except (OSError, zipfile.BadZipFile, KeyError, struct.error, StopIteration) as error:
        raise UserError(f"{path}: no APK ({type(error).__name__}: {error})") from None


def _version_code(xml):
    """The attribute android:versionCode (resource 0x0101021b) of Android's binary XML: chunks of type, header size, size."""
    ids, place = (), 8
    while True:
        kind, header, size = struct.unpack_from("<HHI", xml, place)
        if kind == 0x0180:  # the resource ids of the first strings
            ids = struct.unpack_from(f"<{(size - header) // 4}I", xml, place + header)
        if kind == 0x0102:  # an element: where its attributes start, how long each is, how many
            start, length, count = struct.unpack_from("<HHH", xml, place + header + 8)
            for k in range(count):
                _, name, _, _, _, _, value = struct.unpack_from("<IIIHBBI", xml, place + header + start + k * length)
                if name < len(ids) and ids[name] == 0x0101021B:
                    return value
        if size < 8:
            raise struct.error(f"a chunk of {size} bytes")
        place += size


def check(models, delegates, size, threads, runs, warmup):
    """What can be said before a device is asked: (files, LR (H, W)) of model strings.

    Raises: UserError for what the app does not take.
    """
    for name, value in (("threads", threads), ("runs", runs), ("warmup", warmup)):
        least, most = LIMITS[name]
        if not least <= value <= most:
            raise UserError(f"--{name} {value}: the app takes {least} to {most}")
    for delegate in delegates:
        if delegate not in DELEGATES:
            raise UserError(f"--delegates: '{delegate}' is not one of {', '.join(DELEGATES)}")
    files = [open_model(model, threads) for model in models]
    height, width = size = common_size(files, size)
    if height * width > MOST_PIXELS and not all(file.fixed for file in files):
        raise UserError(f"{width}x{height} (width x height): the app cuts LR images above {MOST_PIXELS} pixels into tiles")
    for model in models:
        options = locate(model)[1]
        others = set(options) - {"desired_depth", "signature"}
        if others:
            raise UserError(f"{model}: the app takes no option '{sorted(others)[0]}'")
        if not SIGNATURE.fullmatch(options.get("signature", "none")):
            raise UserError(f"{model}: the app takes only signatures of 1 to 64 letters, digits or '_'")
    return files, size


def measure(adb, models, delegates, size=None, threads=1, runs=20, warmup=3, timeout=TIMEOUT_S, progress=None):
    """Measure each file with each delegate on a device that has the app.

    Args:
        adb: Adb. models, size, threads, runs, warmup: as benchmark.benchmark. delegates: of DELEGATES.
        timeout: seconds for one run. progress: called with (seconds, what runs).
    Returns: one report for each model and delegate, as docs/reference/benchmark.schema.json has it. What failed has its
        "error".
    Raises: UserError as `check`, or when the device is gone before anything ran.
    """
    files, size = check(models, delegates, size, threads, runs, warmup)
    asked = {"threads": threads, "runs": runs, "warmup": warmup}
    reports, lost = [], None
    with tempfile.TemporaryDirectory() as folder, _App(adb, Path(folder)) as app:
        write_image(app.folder / "picture.png", picture(*size))
        image = (app.folder / "picture.png").read_bytes()
        for model, file in zip(models, files, strict=True):
            data = file.path.read_bytes()
            for delegate in delegates:
                try:
                    if lost:
                        raise lost
                    extras = {"model": app.put(data, "models", ".tflite"), "image": app.put(image, "images", ".png")}
                    extras |= {"delegate": delegate, **asked, **_depth(model, file), **_signature(model)}
                    tell = functools.partial(_tell, progress, f"s {delegate} {model}")
                    report = app.run(extras, sha256(data), timeout, tell)
                except UserError as error:
                    lost = error if isinstance(error, DeviceLost) else lost
                    report = app.failed(delegate, asked, str(error))
                report["environment"]["serial"] = adb.serial
                known = {"model": str(model), "sha256": sha256_file(file.path), "size_bytes": file.path.stat().st_size}
                report["results"][0] |= known
                reports.append(report)
    return reports


def _tell(progress, what, seconds):
    if progress:
        progress(seconds, what)


def _depth(model, file):
    """The extra for a file that takes a desired depth: the option's, else all blocks."""
    depth = locate(model)[1].get("desired_depth", file.max_depth)
    return {} if depth is None else {"depth": float(depth)}


def _signature(model):
    """The extra for a signature that was asked for. Without it the app takes the dense graph, which every delegate runs."""
    name = locate(model)[1].get("signature")
    return {} if name is None else {"signature": name}


class _App:
    """The app on one device. What it is left with after `with`: nothing that runs, and no file of ours."""

    def __init__(self, adb, folder):
        self.adb, self.folder = adb, folder
        self._properties = adb.properties()
        self._names = {}  # on the device, by the content's hash
        self._internal = None  # whether files go through run-as, once that is known

    def __enter__(self):
        self._clean()
        return self

    def __exit__(self, kind, error, trace):
        with contextlib.suppress(UserError):  # a device that is gone; the next run removes what stayed
            self._clean()

    def _clean(self):
        self._stop()
        outside = [f"{_FILES}/{kind}/{_MINE}*" for kind in _KINDS]
        self.adb.run("shell", " ".join(["rm -f", f"{_TEMPORARY}/{_MINE}*", *outside]))
        inside = " ".join(["rm -f", *(f"files/{kind}/{_MINE}*" for kind in _KINDS), *outside])
        self._run_as("sh", "-c", f"{inside}; rmdir files/results")

    def _stop(self):
        self.adb.shell("am", "force-stop", PACKAGE)

    def _run_as(self, *words):
        return self.adb.shell("run-as", PACKAGE, *words)

    def put(self, data, kind, suffix):
        """Bring bytes into the app's folder `kind`. Returns: their name there. Raises: UserError."""
        key = sha256(data)
        if key not in self._names:
            name = f"{_MINE}{secrets.token_hex(4)}{suffix}"
            local, temporary = self.folder / name, f"{_TEMPORARY}/{name}"
            local.write_bytes(data)
            try:
                self.adb.push(local, temporary)
                self._copy(temporary, kind, name)
            finally:
                self.adb.shell("rm", "-f", temporary)
            self._names[key] = name
        return self._names[key]

    def _copy(self, temporary, kind, name):
        """From the shell's folder to the app's: the external one, or where the shell may not, the internal one by run-as.

        `adb push` to the external folder itself is refused by some Android 11 and newer.
        """
        done = None
        if self._internal is None:
            self._internal = not self._has_folders()
        if not self._internal:
            done = self.adb.shell("cp", temporary, f"{_FILES}/{kind}/{name}")
            if "No space left" in done.stderr:
                raise UserError(f"{self.adb.serial}: its storage is full (No space left on device); make room on it")
            self._internal = done.returncode != 0
        if self._internal:
            self.adb.shell("chmod", "644", temporary)
            made = self._run_as("mkdir", "-p", *(f"files/{kind}" for kind in _KINDS))
            done = made if made.returncode else self._run_as("cp", temporary, f"files/{kind}/{name}")
        if done.returncode:
            raise UserError(f"{self.adb.serial}: the app's folder cannot be written, nor by run-as: {said(done)}")

    def _has_folders(self):
        """Whether the shell sees the app's external folders. The app must make them: the shell's would not be its own."""
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

    def run(self, extras, digest, timeout, progress):
        """One benchmark in a fresh process: the app's report, or UserError with why there is none.

        Args:
            extras: the intent's, without the output's name. digest: hex SHA-256 of the model's bytes. timeout: seconds.
            progress: called with the seconds since it started.
        """
        output = f"{_MINE}{secrets.token_hex(4)}"
        self._stop()
        earlier, words = self._crashes(), []
        for key, value in {**extras, "output": output}.items():
            words += [{str: "--es", int: "--ei", float: "--ef"}[type(value)], key, value]
        action = f"{PACKAGE}.BENCHMARK"
        started = self.adb.shell("am", "start", "-n", f"{PACKAGE}/.MainActivity", "-a", action, *words)
        if started.returncode or re.search(r"^Error", started.stdout + started.stderr, re.MULTILINE):
            raise UserError(f"{self.adb.serial}: the app cannot be started: {said(started)}")
        reason = self._wait(output, earlier, timeout, progress)
        report = self._fetch(output)
        if report is None:
            raise UserError(f"{self.adb.serial}: {reason or 'the app finished, but its result is not there'}")
        try:
            _check_report(report, extras, digest)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{self.adb.serial}: the app's result is damaged ({type(error).__name__}: {error})") from None
        return report

    def _wait(self, output, earlier, timeout, progress):
        """Until the log says that it ended: why it failed, None when it did not. Raises: UserError."""
        begun, seen = time.monotonic(), False
        while True:
            running = self.adb.shell("pidof", PACKAGE).returncode == 0
            log = self.adb.shell("logcat", "-d", "-v", "raw", "-s", _TAG).stdout
            marked = re.findall(rf"^BENCHMARK (\w+) output={output}(?: reason=(.*?))?\r?$", log, re.MULTILINE)
            for word, reason in marked:
                if word != "STARTED":
                    return None if word == "DONE" else reason or "the app gives no reason"
            passed, seen = time.monotonic() - begun, seen or running or bool(marked)
            if not running and (seen or passed > _START_S):
                raise UserError(f"{self.adb.serial}: {self._crash(earlier)}")
            if passed > timeout:
                raise UserError(
                    f"{self.adb.serial}: no result within {timeout:g} s; give it more by --timeout, or fewer --runs"
                )
            progress(int(passed))
            time.sleep(_POLL_S)

    def _crashes(self):
        return self.adb.shell("logcat", "-d", "-b", "crash", "-v", "raw").stdout

    def _crash(self, earlier):
        """What the crash log says beyond what it said earlier, in one line."""
        log = self._crashes()
        _, found, text = log.removeprefix(earlier).partition(PACKAGE)
        if not found:
            return "the app ended without a result or a crash in its log; Android may have stopped it for want of memory"
        lines = [" ".join(line.split()) for line in text.splitlines()]
        told = [line for line in lines if _CRASH_LINE.match(line)]
        return f"the app crashed: {' | '.join(told[:3]) or 'its log tells no more'}"[:500]

    def _fetch(self, output):
        """The result's JSON, None when there is no file. Raises: UserError when it is damaged."""
        places = ((self.adb.shell, _FILES), (self._run_as, "files"), (self._run_as, _FILES))
        for run, folder in places:
            done = run("cat", f"{folder}/results/{output}.json")
            if done.returncode == 0:
                try:
                    return json.loads(done.stdout)
                except ValueError as error:
                    raise UserError(f"{self.adb.serial}: the app's result is damaged ({error})") from None
        return None

    def failed(self, delegate, asked, reason):
        """A report of a run that gave none; what is known of the device comes from its properties."""
        known, sdk = self._properties.get, self._properties.get("ro.build.version.sdk", "")
        environment = {
            "device": known("ro.product.model"),
            "manufacturer": known("ro.product.manufacturer"),
            "android": known("ro.build.version.release"),
            "sdk": int(sdk) if sdk.isdecimal() else None,
            "abi": known("ro.product.cpu.abi"),
            **dict.fromkeys(("cores", "app_version", "litert", "width", "height")),
            **asked,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            **dict.fromkeys(("thermal", "background")),
        }
        unknown = ("signature", "effective_delegate", "delegated_nodes", "nodes", "init_ms", "first_ms", "latency_ms")
        result = {
            "threads": asked["threads"],
            "requested_delegate": delegate,
            **dict.fromkeys(unknown),
            "samples_ms": [],
            **dict.fromkeys(("memory_pss_bytes", "psnr_vs_cpu", "psnr_vs_reference")),
            "error": " ".join(reason.split()),
        }
        where = "emulator" if _EMULATORS.fullmatch(known("ro.hardware", "")) else "device"
        return {"format": FORMAT, "where": where, "environment": environment, "results": [result]}


def _check_report(report, extras, digest):
    """Raises UserError, KeyError, TypeError or ValueError unless it reports just what was asked for, measured on a device."""
    if report["format"] != FORMAT:
        raise UserError(f"the app writes '{report['format']}', this is for '{FORMAT}': install the app of this version")
    if report["where"] not in ("device", "emulator"):
        raise UserError(f"the result was measured on '{report['where']}', which is no device: not taken")
    [result] = report["results"]
    if not isinstance(report["environment"], dict):
        raise ValueError("no environment")
    wanted = {"requested_delegate": extras["delegate"], "threads": extras["threads"]}
    if result["error"] is None:
        wanted["sha256"] = digest
        if "signature" in extras and result["signature"] is not None:  # the app names none where there is no choice
            wanted["signature"] = extras["signature"]
    for key, value in wanted.items():
        if result[key] != value:
            raise ValueError(f"{key} {result[key]} instead of {value}")
    if result["error"] is not None:
        if not isinstance(result["error"], str) or result["latency_ms"] is not None or result["samples_ms"]:
            raise ValueError("an error beside times")
        return
    if result["effective_delegate"] != extras["delegate"] and extras["delegate"] != "cpu":
        raise UserError(f"{extras['delegate']} was asked for, but {result['effective_delegate']} ran: not taken")
    numbers = [result["latency_ms"][key] for key in _STATISTICS] + result["samples_ms"] + [result["init_ms"]]
    if len(result["samples_ms"]) != extras["runs"] or not all(_is_time(number) for number in numbers):
        raise ValueError("times that are no times")


def _is_time(number):
    return isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number) and number >= 0
