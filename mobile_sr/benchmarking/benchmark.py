"""Timing .tflite files on this machine: interleaved invocations in one process, memory in a fresh process per file."""

import datetime
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from mobile_sr import zoo
from mobile_sr.converters.tflite import truncation
from mobile_sr.errors import UserError
from mobile_sr.files import sha256_file
from mobile_sr.imaging.sample_images import picture
from mobile_sr.inference import litert, model_io
from mobile_sr.inference.model_files import locate_tflite, split

FORMAT = "mobile-sr benchmark 1"  # of the JSON, on phones, too: docs/reference/benchmark.schema.json

# How often the interpreters are opened anew: where their memory then lies moves a float file's time by up to 10 %.
OPENINGS = 6
DEFAULT_SIZE = (360, 640)  # LR (H, W) of a file with a dynamic size: 1080p at x3
CHILD = (sys.executable, "-m", "mobile_sr.benchmarking.benchmark_worker")


def benchmark(models, size=None, threads=1, runs=20, warmup=3, layers=False, progress=None):
    """Measure .tflite files side by side.

    Args:
        models: .tflite files or packaged ones ('xlsr_x3:uint8'), options behind '@'; the first is what ratios refer to.
        size: LR (H, W); None means the fixed size of the files that have one, else DEFAULT_SIZE.
        threads: CPU threads of each interpreter.
        runs: timed rounds; in each round every model is invoked once. warmup: rounds before those of each opening.
        layers: estimate the cost of each operator, too.
        progress: called with (rounds done, what runs).
    Returns: JSON-able, as docs/reference/benchmark.schema.json says: {"format", "where", "environment", "results"}; one result
        per model
        has latency_ms and cpu_ms (see `statistics`), samples_ms (of latency_ms), init_ms, peak_memory_bytes (None where the
        system does not tell), partitions, delegated_nodes and nodes (see `litert.residency`), ratio_to_first, and layers
        where asked for.
    Raises: UserError when a file is unusable, has another size, or kills the process that measures it.
    """
    files = [open_model(model, threads) for model in models]
    height, width = size = common_size(files, size)
    report = {"format": FORMAT, "where": "host", "environment": environment(size, threads, runs, warmup), "results": []}
    children = [measure_in_child(str(model), file, size) for model, file in zip(models, files, strict=True)]
    figures = [_check(str(model), file) for model, file in zip(models, files, strict=True)]
    image = picture(height, width)
    times = [_opening(files, image, share, warmup, progress) for share in _shares(runs)]
    wall, cpu = np.concatenate(times, axis=2)
    ratios = ratios_to_first([opening[1 if threads == 1 else 0] for opening in times])
    for k, file in enumerate(files):
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
            }
        )
        file.close()
    if layers:
        for file, result in zip(files, report["results"], strict=True):
            result["layers"] = layer_costs(file, image, runs, warmup, progress)
    return report


def _check(model, file):
    """model_io.check's figures, with a warning where they are poor; None for a packaged file, which is not run."""
    if file.path.parent == zoo.FOLDER:
        return None
    return model_io.check_and_warn(model, file.io, file.run, file.scale, file.sample_size)


def at_depth(models, depth):
    """The model strings with a desired depth for those that take one. Raises: UserError when none does."""
    found, taking = [], 0
    for model in models:
        if open_model(model, 1).max_depth is not None:
            model, taking = f"{model}{',' if split(model)[1] else '@'}desired_depth={depth:g}", taking + 1
        found.append(model)
    if not taking:
        raise UserError(f"--depth {depth:g}: none of the files takes a desired depth")
    return found


def ratios_to_first(openings):
    """Each file's time in ratio to the first file's: [files] from the [files, rounds] times of each opening.

    The fastest round of an opening is the least disturbed one: under load its ratio repeats better than the median's.
    """
    fastest = np.array([times.min(axis=1) for times in openings])
    return np.median(fastest / fastest[:, :1], axis=0)


def _shares(runs):
    """The rounds of each opening of the interpreters."""
    return [len(part) for part in np.array_split(np.arange(runs), min(OPENINGS, runs))]


def _opening(files, image, runs, warmup, progress):
    """Open all interpreters anew and time them; [wall or CPU, files, runs] in ms."""
    for file in files:
        file.close()
        file.set(image)
    return np.stack(interleave([file.invoke for file in files], runs, warmup, progress))


def open_model(model, threads):
    """The TFLiteModel of a model string. Raises: UserError when it is no single-image network."""
    path, options = locate_tflite(model)
    return litert.TFLiteModel(path, threads, options)


def common_size(files, size):
    """The LR (H, W) that all TFLiteModels run at: `size`, else their fixed one, else DEFAULT_SIZE. Raises: UserError."""
    for file in files:
        if file.fixed and size and file.fixed != size:
            raise UserError(f"{file.name}: takes {_wxh(file.fixed)} only, not {_wxh(size)}")
        size = size or file.fixed
    return size or DEFAULT_SIZE


def _wxh(size):
    return f"{size[1]}x{size[0]} (width x height)"


def interleave(invokes, runs, warmup=0, progress=None):
    """Call the functions in turn, A B C, B C A, C A B, ..., and time each call.

    Slow spells of the machine then fall on all of them alike, and none always follows the same neighbour.

    Returns: wall time and process CPU time (of all threads) in ms, two float64 arrays [functions, runs].
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


def cpu_ms(files, runs, progress=None):
    """Median process CPU time in ms of the bytes of .tflite files of fixed sizes, one thread, interleaved. [files]"""
    interpreters = [litert.open_interpreter(data) for data in files]
    for interpreter in interpreters:
        litert.allocate(interpreter, "model")
    return np.median(interleave([interpreter.invoke for interpreter in interpreters], runs, 1, progress)[1], axis=1)


def statistics(samples):
    """{"min", "mean", "p50", "p90", "p99", "std"} of samples: linear percentiles, population standard deviation."""
    p50, p90, p99 = np.percentile(samples, (50, 90, 99))
    found = {"min": np.min(samples), "mean": np.mean(samples), "p50": p50, "p90": p90, "p99": p99, "std": np.std(samples)}
    return {key: float(value) for key, value in found.items()}


def measure_in_child(model, file, size):
    """{"init_ms", "peak_memory_bytes"} of a model string, measured in a process of its own (see benchmark_child).

    Raises: UserError with the child's reason, or with the signal that ended it.
    """
    command = [*CHILD, model, *map(str, (*size, file.threads, file.io.range_in))]
    child = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        raise UserError(f"{file.name}: the process that measured its memory was ended by {name}")
    try:
        found = json.loads(child.stdout)
    except ValueError:
        last = (child.stderr.strip().splitlines() or ["it said nothing"])[-1]
        failed = f"the process that measured its memory failed with status {child.returncode}"
        raise UserError(f"{file.name}: {failed} ({last})") from None
    if "error" in found:
        raise UserError(found["error"])
    return found


def layer_costs(file, image, runs, warmup, progress=None):
    """An estimate of each operator's CPU time: what a prefix of the graph that ends after it takes more than the one before.

    Neighbouring prefixes are timed interleaved, two at a time, and the median of the rounds' differences is taken. A
    delegate fuses and lays out a prefix in its own way, so that small costs can come out below zero.

    Args:
        file: litert.TFLiteModel. image: [H, W, 3] uint8.
    Returns: [{"index", "op", "output", "cpu_ms_estimate"}].
    """
    tensors = litert.parse_graph(file.data, file.name).tensors
    rows, before = [], None
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


def environment(size, threads, runs, warmup):
    """What the figures depend on; nothing that tells whose machine it is."""
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


def _cpu_name():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.processor() or platform.machine()
