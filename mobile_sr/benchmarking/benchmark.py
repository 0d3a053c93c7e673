"""Latency of .tflite files on this machine, interleaved in one process, and memory in a fresh process per file."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr import zoo
from mobile_sr.adadsr import depth_usage
from mobile_sr.converters.tflite import truncation
from mobile_sr.devices import engines
from mobile_sr.errors import UserError
from mobile_sr.files import sha256_file
from mobile_sr.imaging.sample_images import generated
from mobile_sr.inference import litert, model_files, model_io
from mobile_sr.inference.model_files import locate_tflite, split

if TYPE_CHECKING:
    from mobile_sr.benchmarking.device_files import CompiledNetwork

FORMAT = "mobile-sr benchmark 1"  # of the JSON, also on phones: docs/reference/benchmark.schema.json

# Number of times the interpreters are reopened: the address of their memory changes a float file's time by up to 10 %.
OPENINGS = 6
DEFAULT_SIZE = (360, 640)  # LR (H, W) of a file with a dynamic size: 1080p at x3
CHILD = (sys.executable, "-m", "mobile_sr.benchmarking.benchmark_worker")


def benchmark(
    models: Sequence[str | Path],
    size: tuple[int, int] | None = None,
    threads: int = 1,
    runs: int = 20,
    warmup: int = 3,
    layers: bool = False,
    progress: Callable[[int, str], object] | None = None,
    image: np.ndarray | None = None,
) -> dict[str, Any]:
    """Measures .tflite files side by side.

    Args:
        models: .tflite files or packaged ones ('xlsr_x3:uint8'), with options after '@'. Ratios refer to the first one.
        size: LR (H, W); None means the fixed size of the files that have one, else DEFAULT_SIZE.
        threads: CPU threads of each interpreter.
        runs: timed rounds; each round invokes every model once.
        warmup: untimed rounds after each reopening of the interpreters.
        layers: also estimate the cost of each operator.
        progress: called with (rounds done, description of the current step).
        image: [H, W, 3] uint8, the LR image to run; None for a generated one. Its size replaces `size`.

    Returns:
        A JSON-able dict, see docs/reference/benchmark.schema.json: {"format", "where", "environment", "results"}. The result
        of a model has latency_ms and cpu_ms (see `statistics`), samples_ms (of latency_ms), init_ms, peak_memory_bytes (None
        if the system does not report it), partitions, delegated_nodes and nodes (see `litert.residency`), ratio_to_first,
        layers if requested, and for a network with a depth map depth (`depth_usage.usage`).

    Raises:
        UserError: a file is unusable, has another size, or crashes the process that measures it.
    """
    files = [open_model(model, threads) for model in models]
    height, width = size = common_size(files, size if image is None else (image.shape[0], image.shape[1]))
    report: dict[str, Any] = {
        "format": FORMAT,
        "where": "host",
        "environment": environment(size, threads, runs, warmup),
        "results": [],
    }
    children = [measure_in_child(str(model), file, size) for model, file in zip(models, files, strict=True)]
    figures = [check(str(model), file) for model, file in zip(models, files, strict=True)]
    image = generated(height, width) if image is None else image
    times = [_opening(files, image, share, warmup, progress) for share in _shares(runs)]
    wall, cpu = np.concatenate(times, axis=2)
    ratios = ratios_to_first([opening[1 if threads == 1 else 0] for opening in times])
    for k, file in enumerate(files):
        assert file.path is not None  # open_model opens paths
        partitions, delegated, nodes = file.residency()
        report["results"].append(
            {
                "model": str(models[k]),
                "sha256": sha256_file(file.path),
                "size_bytes": file.path.stat().st_size,
                "threads": threads,
                "requested_delegate": "cpu",
                "effective_delegate": "cpu" if delegated else "none",
                "delegated_nodes": delegated,
                "nodes": nodes,
                "latency_ms": statistics(wall[k]),
                "samples_ms": wall[k].tolist(),
                "cpu_ms": statistics(cpu[k]),
                **children[k],
                "partitions": partitions,
                "ratio_to_first": float(ratios[k]),
                "error": None,
                **model_io.facts(file.io, figures[k]),
                **_depth(str(models[k]), file, image),
            }
        )
        file.close()
    if layers:
        for file, result in zip(files, report["results"], strict=True):
            result["layers"] = layer_costs(file, image, runs, warmup, progress)
    return report


def _depth(model: str, file: litert.TFLiteModel, image: np.ndarray) -> dict[str, Any]:
    """Returns {"depth": `depth_usage.usage` and "deepest", the number of blocks}; {} for a network without a depth map."""
    costs = file.sidecar.multiply_adds
    if not file.has_map or costs is None:
        return {}
    depth_map, desired = file.run_at(image, file.value)[1], file.value
    if desired is None and "desired_depth" in (options := split(model)[1]):
        desired = float(options["desired_depth"])
    deepest = len(costs["blocks"]) // file.map_channels
    return {"depth": {**depth_usage.usage(costs, depth_map, desired), "deepest": deepest}}


def check(model: str, file: litert.TFLiteModel) -> dict[str, Any] | None:
    """Runs a file on the sample image like `model_io.check_and_warn`. Returns None for a packaged file, which is not run."""
    if file.path is not None and file.path.parent == zoo.FOLDER:
        return None
    return model_io.check_and_warn(model, file.io, file.run, file.scale, file.sample_size)


def at_depth(models: Sequence[str], depth: float) -> list[str]:
    """Adds a desired depth, or the signature of an exit, to the model strings whose files support it.

    Raises:
        UserError: no file does, or a file has exits after other numbers of layers.
    """
    result, count = [], 0
    for model in models:
        file = open_model(model, 1)
        exits = {entry["layers"]: entry["signature"] for entry in file.sidecar.exits}
        if exits and depth not in exits:
            raise UserError(f"{model}: depth {depth:g} is not one of its exits, {', '.join(map(str, exits))}")
        if exits or file.adjustable:
            option = ("signature", exits[depth]) if exits else ("desired_depth", f"{depth:g}")
            model, count = model_files.with_option(model, *option), count + 1
        result.append(model)
    if not count:
        raise UserError(f"--depth {depth:g}: none of the files supports a desired depth")
    return result


def ratios_to_first(openings: Sequence[np.ndarray]) -> np.ndarray:
    """Returns each file's time relative to the first file's: [files].

    The fastest round of an opening is the least disturbed one: under load its ratio is more repeatable than the median's.

    Args:
        openings: [files, rounds] times of each opening of the interpreters.
    """
    fastest = np.array([times.min(axis=1) for times in openings])
    return np.median(fastest / fastest[:, :1], axis=0)


def _shares(runs: int) -> list[int]:
    """Returns the number of rounds for each opening of the interpreters."""
    return [len(part) for part in np.array_split(np.arange(runs), min(OPENINGS, runs))]


def _opening(
    files: Sequence[litert.TFLiteModel],
    image: np.ndarray,
    runs: int,
    warmup: int,
    progress: Callable[[int, str], object] | None,
) -> np.ndarray:
    """Reopens all interpreters and times them. Returns [wall or CPU, files, runs] in ms."""
    for file in files:
        file.close()
        file.set(image)
    return np.stack(interleave([file.invoke for file in files], runs, warmup, progress))


def open_model(model: str | Path, threads: int) -> litert.TFLiteModel:
    """Opens the TFLiteModel of a model string. Raises UserError if it is not a single-image network."""
    path, options = locate_tflite(model)
    return litert.TFLiteModel(path, threads, options)


def common_size(files: Sequence[litert.TFLiteModel | CompiledNetwork], size: tuple[int, int] | None) -> tuple[int, int]:
    """Returns the LR (H, W) at which all files run: `size`, else their fixed size, else DEFAULT_SIZE.

    Raises:
        UserError: a file has another fixed size.
    """
    for file in files:
        if file.fixed and size and file.fixed != size:
            raise UserError(f"{file.name}: supports {_wxh(file.fixed)} only, not {_wxh(size)}")
        size = size or file.fixed
    return size or DEFAULT_SIZE


def _wxh(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]} (width x height)"


def interleave(
    invokes: Sequence[Callable[[], object]],
    runs: int,
    warmup: int = 0,
    progress: Callable[[int, str], object] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Calls functions in turn, A B C, B C A, C A B, ..., and times each call.

    Slow phases of the machine then affect all functions alike, and no function always follows the same one.

    Args:
        invokes: the functions.
        runs: timed rounds.
        warmup: untimed rounds before them.
        progress: called with (rounds done, "rounds").

    Returns:
        Wall time and CPU time of the process (all threads) in ms: two float64 arrays [functions, runs].
    """
    wall, cpu = np.empty((2, len(invokes), runs))
    for turn in range(-warmup, runs):
        for step in range(len(invokes)):
            k = (turn + step) % len(invokes)
            cpu_start, wall_start = time.process_time(), time.perf_counter()
            invokes[k]()
            wall_end, cpu_end = time.perf_counter(), time.process_time()
            if turn >= 0:
                wall[k, turn], cpu[k, turn] = 1e3 * (wall_end - wall_start), 1e3 * (cpu_end - cpu_start)
        if progress:
            progress(turn + warmup + 1, "rounds")
    return wall, cpu


def cpu_ms(files: Sequence[bytes], runs: int, progress: Callable[[int, str], object] | None = None) -> np.ndarray:
    """Measures the median CPU time of .tflite files of fixed sizes, on one thread, interleaved.

    Args:
        files: bytes of the files.
        runs: timed rounds.
        progress: as for `interleave`.

    Returns:
        [files], in ms.
    """
    interpreters = [engines.open_interpreter(data) for data in files]
    for interpreter in interpreters:
        engines.allocate(interpreter, "model")
    return np.median(interleave([interpreter.invoke for interpreter in interpreters], runs, 1, progress)[1], axis=1)


def statistics(samples: np.ndarray) -> dict[str, float]:
    """Returns {"min", "mean", "p50", "p90", "p99", "std"}: linear percentiles, population standard deviation."""
    p50, p90, p99 = np.percentile(samples, (50, 90, 99))
    result = {"min": np.min(samples), "mean": np.mean(samples), "p50": p50, "p90": p90, "p99": p99, "std": np.std(samples)}
    return {key: float(value) for key, value in result.items()}


def measure_in_child(model: str, file: litert.TFLiteModel, size: tuple[int, int]) -> dict[str, Any]:
    """Measures initialization and memory of a model string in a separate process, see benchmark_worker.

    Args:
        model: the model string.
        file: its opened file.
        size: LR (H, W).

    Returns:
        {"init_ms", "peak_memory_bytes"}.

    Raises:
        UserError: the child process failed; the message has its reason or signal.
    """
    command = [*CHILD, model, *map(str, (*size, file.threads, file.io.range_in, file.io.order))]
    child = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        raise UserError(f"{file.name}: the process that measured its memory was killed by {name}")
    try:
        result = json.loads(child.stdout)
    except ValueError:
        last = (child.stderr.strip().splitlines() or ["no output"])[-1]
        failed = f"the process that measured its memory failed with exit status {child.returncode}"
        raise UserError(f"{file.name}: {failed} ({last})") from None
    if "error" in result:
        raise UserError(result["error"])
    return result


def layer_costs(
    file: litert.TFLiteModel,
    image: np.ndarray,
    runs: int,
    warmup: int,
    progress: Callable[[int, str], object] | None = None,
) -> list[dict[str, Any]]:
    """Estimates each operator's CPU time as the difference between the graph's prefixes that end after and before it.

    Neighbouring prefixes are timed interleaved, two at a time, and the median of the rounds' differences is used. A delegate
    fuses and lays out each prefix differently, so small costs can be negative.

    Args:
        file: the model.
        image: [H, W, 3] uint8.
        runs: timed rounds per operator.
        warmup: untimed rounds before them.
        progress: called with (operators done, description).

    Returns:
        [{"index", "op", "output", "cpu_ms_estimate"}].
    """
    tensors = litert.parse_graph(file.data, file.name).tensors
    rows: list[dict[str, Any]] = []
    before: litert.TFLiteModel | None = None
    for index, op, data in truncation.prefixes(file.data):
        prefix = file.with_graph(data, f"{file.name} up to operator {index}")
        prefix.set(image)
        _, cpu = interleave([before.invoke, prefix.invoke] if before else [prefix.invoke], runs, warmup)
        difference = cpu[1] - cpu[0] if before else cpu[0]
        row = {"index": index, "op": op.name, "output": tensors[op.outputs[0]].name}
        rows.append({**row, "cpu_ms_estimate": float(np.median(difference))})
        before = prefix
        if progress:
            progress(len(rows), f"layers of {file.name}")
    return rows


def environment(size: tuple[int, int], threads: int, runs: int, warmup: int) -> dict[str, Any]:
    """Returns the conditions that figures depend on. Nothing in it identifies the machine's owner."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "litert": importlib.metadata.version("ai-edge-litert"),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "height": size[0],
        "width": size[1],
        "threads": threads,
        "runs": runs,
        "warmup": warmup,
        "openings": len(_shares(runs)),
        "ratio_of": f"smallest {'cpu_ms' if threads == 1 else 'latency_ms'} of each opening, their median",
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.processor() or platform.machine()
