"""Scoreboard of the NTIRE 2022 efficient super-resolution challenge, for networks measured on this machine.

Li et al., CVPRW 2022, Sec. 2.3 and Table 1: a network enters if it keeps the PSNR of the baseline. The main track ranks by
runtime, sub-track 1 by the sum of the ranks in parameters and FLOPs, sub-track 2 by the sum of the ranks in all five measures.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mobile_sr import models, zoo
from mobile_sr.benchmarking import benchmark
from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError
from mobile_sr.evaluation import evaluate
from mobile_sr.imaging import metrics
from mobile_sr.inference import model_files, upscaler, weights
from mobile_sr.quantization import export

FORMAT = "mobile-sr scoreboard 1"
SIZE = (256, 256)  # LR (H, W) for which the challenge counts
TRACKS = {
    "main": ("runtime_ms",),
    "complexity": ("parameters", "flops"),
    "overall": ("runtime_ms", "parameters", "flops", "activations", "memory_bytes"),
}
COUNTS = {"script": "script_flops", "true": "multiply_adds"}  # meaning of "flops" -> key of a row
BASELINE, MARGIN_DB = "imdn", 29.13 - 28.95  # on DIV2K's validation set the baseline has 29.13 dB and 28.95 are required
# PSNR on DIV2K validation (RGB) from Table 1, which lists IMDN and RFDN for comparison only, unranked.
PUBLISHED_DB = {
    "imdn": 29.13,
    "rfdn": 29.04,
    "rlfn": 29.00,
    "fmen": 29.00,
    "efdn": 29.01,
    "bsrn": 29.01,
    "mobilesr": 28.96,
    "arfdn": 29.00,
    "imdn_plus": 29.01,
    "pruned_rfdn": 29.00,
}


@dataclasses.dataclass
class Entrant:
    """A network on the scoreboard.

    Attributes:
        name: name on the scoreboard.
        config: configuration of the network (`models.build`).
        model: the model with its weights: zoo name, .npz file or run folder; None for an untrained network.
    """

    name: str
    config: dict[str, Any]
    model: str | None = None


def entrants(names: Sequence[str] = (), folder: str | Path | None = None, scale: int = 4) -> list[Entrant]:
    """Returns the entrants for names of networks and of trained models.

    Args:
        names: networks, zoo names, .npz files and run folders; by default the ten networks of the challenge.
        folder: folder with the weights of networks as NAME/best.npz, as `import-weights` writes them. A network without
            weights there is untrained.
        scale: scale factor of all entrants.
    Raises: UserError for an unknown name, a name given twice, a model of another scale, or weights of another network.
    """
    if folder is not None and not Path(folder).is_dir():
        raise UserError(f"--weights {folder}: no such folder")
    result = []
    for name in names or models.NTIRE_2022:
        config: dict[str, Any] = {}
        model: str | None = None
        is_network = name in models.NETWORKS
        if is_network:
            config = {"network": name, "scale": scale, "output_activation": "clipped_relu"}
            if folder is not None and (Path(folder) / name / "best.npz").exists():
                model = str(Path(folder) / name)
        elif name in zoo.names() or Path(name).exists():
            model = name
        else:
            raise UserError(f"--net {name}: not a network, zoo name or trained model; networks: {', '.join(models.NETWORKS)}")
        if model is not None:
            file, title = model_files.trained(model)
            config = weights.read_arrays(file)[1].get("config", {})
            if is_network and config.get("network") != name:
                raise UserError(f"{file}: contains the network '{config.get('network')}', not '{name}'")
            if config.get("scale") != scale:
                raise UserError(f"{model}: has scale {config.get('scale')}; the scoreboard is for x{scale} (--scale)")
            name = name if is_network else title
        result.append(Entrant(name, config, model))
    names = [entrant.name for entrant in result]
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate:
        raise UserError(f"--net {duplicate}: two entrants have this name")
    return result


def measure(
    board: Sequence[Entrant],
    data: str | Path | None = None,
    gate: float | None = None,
    runs: int = 12,
    threads: int = 1,
    log: Callable[[str], Any] = print,
    progress: Callable[[int, str], None] | None = None,
) -> dict[str, Any]:
    """Measure entrants in one interleaved run of their float32 .tflite files and rank them.

    Args:
        board: entrants, all of one scale.
        data: folder of images for PSNR; None measures no PSNR, and all entrants take part.
        gate: minimum PSNR in dB to take part. None is the PSNR of the baseline on `data` minus MARGIN_DB, if the baseline is
            on the board with weights.
        runs: timed runs of each file.
        threads: CPU threads.
        log: called with lines about the progress.
        progress: called with (number done, what was done).
    Returns: JSON-able {"format", "environment", "scale", "set", "gate_db", "protocol", "rows"}. A row has {"name", "weights":
        "given" or "untrained", "psnr": in dB (RGB, `scale` pixels cut) or None, "published_db", "enters", the counts of
        `models.challenge_counts` at SIZE, "runtime_ms" (median wall time), "cpu_ms", "memory_bytes" (peak of a process that
        runs the file), "ranks": {"script": {measure: rank}, "true": ...}, "places": {"script": {track: place}, "true": ...}};
        ranks and places are None for entrants below the gate.
    Raises: UserError for unusable data or weights.
    """
    rows: list[dict[str, Any]] = []
    files: list[str] = []
    scale = board[0].config["scale"]
    if data:
        next(evaluate.each_pair(data, scale, [], scale))  # raises UserError before the work when there is no image
    with tempfile.TemporaryDirectory() as folder:
        for entrant in board:
            model = entrant.model or untrained(entrant, Path(folder))
            log(f"{entrant.name}: {'weights of ' + model if entrant.model else 'untrained'}")
            files.append(str(export.export(model, folder, ["float32"], log=lambda line: None)[0]))
            psnr = None
            if data and entrant.model:
                psnr = evaluate.evaluate(upscaler.load(model), data, "rgb", progress, ssim=False)["mean"]["psnr"]
            row = {"name": entrant.name, "weights": "given" if entrant.model else "untrained", "psnr": psnr}
            row["published_db"] = PUBLISHED_DB.get(entrant.config["network"]) if scale == 4 else None
            rows.append(row | models.challenge_counts(entrant.config, *SIZE))
        timing = benchmark.benchmark(files, SIZE, threads, runs, progress=progress)
    for row, result in zip(rows, timing["results"], strict=True):
        row["runtime_ms"], row["cpu_ms"] = result["latency_ms"]["p50"], result["cpu_ms"]["p50"]
        row["memory_bytes"] = result["peak_memory_bytes"]
    gate = baselines_gate(rows) if gate is None else gate
    for row in rows:
        row["enters"] = gate is None or row["psnr"] is None or row["psnr"] >= gate
    give_places(rows)
    protocol = metrics.protocol(scale, "rgb") if data else None
    name = Path(data).name if data else None
    head = {"format": FORMAT, "environment": timing["environment"], "scale": scale, "set": name, "gate_db": gate}
    return {**head, "protocol": protocol, "rows": rows}


def baselines_gate(rows: Sequence[dict[str, Any]]) -> float | None:
    """Returns the minimum PSNR to take part, in dB: MARGIN_DB below the baseline's; None if that was not measured."""
    baseline = next((row["psnr"] for row in rows if row["name"] == BASELINE), None)
    return None if baseline is None else baseline - MARGIN_DB


def untrained(entrant: Entrant, folder: Path) -> str:
    """Write an entrant's network, initialized with a fixed seed, to a model file in `folder` and return its path."""
    import keras

    keras.utils.set_random_seed(0)
    with quiet():
        model = models.build(entrant.config)
    file = folder / f"{entrant.name}.npz"
    weights.save_model(file, model, entrant.config, {})
    return str(file)


def give_places(rows: Sequence[dict[str, Any]]) -> None:
    """Add "ranks" and "places" to the rows, by both FLOP counts; None for rows that do not enter."""
    entered = [row for row in rows if row["enters"]]
    for row in rows:
        row["ranks"], row["places"] = dict.fromkeys(COUNTS), dict.fromkeys(COUNTS)
    for count, key in COUNTS.items():
        measures = [{**row, "flops": row[key]} for row in entered]
        ranks = {m: places([row[m] for row in measures]) for m in TRACKS["overall"]}
        tracks = {track: standings([ranks[m] for m in of]) for track, of in TRACKS.items()}
        for k, row in enumerate(entered):
            row["ranks"][count] = {m: ranks[m][k] for m in ranks}
            row["places"][count] = {track: tracks[track][k] for track in tracks}


def places(values: Sequence[float]) -> list[int]:
    """Returns the rank of each value, 1 for the smallest. Equal values share the better rank, and the next one is skipped."""
    return [1 + sum(other < value for other in values) for value in values]


def standings(ranks: Sequence[Sequence[float]]) -> list[int]:
    """Returns the places by the sums of ranks, [measures][networks] -> [networks] (the challenge's ranking statistic)."""
    return places([sum(of_one) for of_one in zip(*ranks, strict=True)])
