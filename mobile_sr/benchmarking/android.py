"""Measures .tflite files on an Android device: installs the benchmark app over adb and runs each file with each delegate."""

from __future__ import annotations

import functools
import re
import struct
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_sr.benchmarking import device_files, device_matrix
from mobile_sr.benchmarking.adb import DeviceLost
from mobile_sr.benchmarking.android_app import PACKAGE, TIMEOUT_S, App
from mobile_sr.benchmarking.benchmark import common_size
from mobile_sr.errors import UserError
from mobile_sr.files import sha256, sha256_file
from mobile_sr.imaging import sample_images
from mobile_sr.imaging.images import write_image
from mobile_sr.inference.model_files import locate
from mobile_sr.inference.tensor_layout import TensorLayout

if TYPE_CHECKING:
    from mobile_sr.benchmarking.adb import Adb
    from mobile_sr.benchmarking.device_files import CompiledNetwork
    from mobile_sr.inference.litert import TFLiteModel

APK = Path(__file__).parents[2] / "android_demo" / "build" / "apk" / "mobile-sr.apk"  # written by `make apk`
DELEGATES = ("cpu", "nnapi", "gpu", "gpu_fp32", device_files.NPU)
LIMITS = {"threads": (1, 16), "runs": (1, 10000), "warmup": (0, 1000)}  # of the app
SIGNATURE = re.compile(r"[A-Za-z0-9_]{1,64}")  # names that the app accepts
MAX_PIXELS = 1 << 20  # the app cuts larger LR images into tiles


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
) -> tuple[list[TFLiteModel | CompiledNetwork], tuple[int, int]]:
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
    files = [device_files.open_file(model, counts[0]) for model in models]
    height, width = size = common_size(files, size)
    if height * width > MAX_PIXELS and not all(file.fixed for file in files):
        raise UserError(f"{width}x{height} (width x height): the app cuts LR images above {MAX_PIXELS} pixels into tiles")
    for model, file in zip(models, files, strict=True):
        device_files.delegates_of(file, delegates)
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
        delegates: delegates of DELEGATES. 'npu' runs files that are compiled for a chip, the others all other files.
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
    with tempfile.TemporaryDirectory() as folder, App(adb, Path(folder)) as app:
        write_image(app.folder / "image.png", sample_images.generated(*size))
        image = (app.folder / "image.png").read_bytes()
        for model, file in zip(models, files, strict=True):
            assert file.path is not None  # `check` opens paths
            data = file.path.read_bytes()
            for delegate, count in device_matrix.runs(device_files.delegates_of(file, delegates), counts):
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


def _depth(model: str, file: TFLiteModel | CompiledNetwork) -> dict[str, float]:
    """Returns the extra for a file with a desired depth: the option's value, else all blocks."""
    depth = locate(model)[1].get("desired_depth", file.adjustable.limits[1] if file.adjustable else None)
    return {} if depth is None else {"depth": float(depth)}


def _signature(model: str) -> dict[str, str]:
    """Returns the extra for a requested signature. By default the app runs the dense graph, which every delegate supports."""
    name = locate(model)[1].get("signature")
    return {} if name is None else {"signature": name}
