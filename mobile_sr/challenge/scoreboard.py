"""Scoreboard of the NTIRE 2022 efficient super-resolution challenge, for networks measured on this machine.

Li et al., CVPRW 2022, Sec. 2.3 and Table 1: a network enters if it keeps the PSNR of the baseline on two sets. The main track
ranks by runtime, sub-track 1 by the sum of the ranks in parameters and FLOPs, sub-track 2 by that in all five measures.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mobile_sr import models, zoo
from mobile_sr.benchmarking import benchmark
from mobile_sr.challenge import rules
from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError
from mobile_sr.evaluation import evaluate
from mobile_sr.imaging import metrics
from mobile_sr.inference import model_files, upscaler, weights
from mobile_sr.models.ntire2022.teams import TEAMS
from mobile_sr.quantization import export

FORMAT = "mobile-sr scoreboard 1"
SIZE = (256, 256)  # LR (H, W) for which the challenge counts
TRACKS = {
    "main": ("runtime_ms",),
    "complexity": ("parameters", "flops"),
    "overall": ("runtime_ms", "parameters", "flops", "activations", "memory_bytes"),
}
COUNTS = {"script": "script_flops", "true": "multiply_adds"}  # meaning of "flops" -> key of a row
RULES = rules.find("ntire2022")
BASELINE = RULES.baseline["network"]
# How far below the baseline the gates are on DIV2K's validation and test set, in dB.
MARGINS_DB = tuple(psnr - gate for psnr, gate in zip(RULES.baseline["psnr"], RULES.gate_db, strict=True))


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
    test_data: str | Path | None = None,
) -> dict[str, Any]:
    """Measure entrants in one interleaved run of their float32 .tflite files and rank them.

    Args:
        board: entrants, all of one scale.
        data: folder of images for PSNR; None measures no PSNR, and all entrants take part.
        gate: minimum PSNR on `data` in dB to take part. None is the baseline's PSNR minus the first of MARGINS_DB, if the
            baseline is on the board with weights.
        runs: timed runs of each file.
        threads: CPU threads.
        log: called with lines about the progress.
        progress: called with (number done, what was done).
        test_data: folder of images for the second half of the gate, that on the test set: the baseline's PSNR there minus the
            second of MARGINS_DB. None leaves it out.
    Returns: JSON-able {"format", "environment", "scale", "set", "gate_db", "test_set", "test_gate_db", "protocol", "rows",
        "published": `rules.published` at x4, else []}. A row has {"name", "weights": "given" or "untrained", "psnr" and
        "psnr_test": in dB (RGB, `scale` pixels cut) or None, "published_db", "enters", the counts of
        `models.challenge_counts` at SIZE, "runtime_ms" (median wall time), "cpu_ms", "memory_bytes" (peak of a process that
        runs the file), "ranks": {"script": {measure: rank}, "true": ...}, "places": {"script": {track: place}, "true": ...}};
        ranks and places are None for entrants below the gate.
    Raises: UserError for unusable data or weights.
    """
    rows: list[dict[str, Any]] = []
    files: list[str] = []
    scale = board[0].config["scale"]
    for images in [source for source in (data, test_data) if source]:
        next(evaluate.each_pair(images, scale, [], scale))  # raises UserError early when there is no image
    published = rules.published() if scale == 4 else []
    published_db = _published_db(published)
    with tempfile.TemporaryDirectory() as folder:
        for entrant in board:
            model = entrant.model or untrained(entrant, Path(folder))
            log(f"{entrant.name}: {'weights of ' + model if entrant.model else 'untrained'}")
            files.append(str(export.export(model, folder, ["float32"], log=lambda line: None)[0]))
            row: dict[str, Any] = {"name": entrant.name, "weights": "given" if entrant.model else "untrained"}
            row |= {"psnr": None, "psnr_test": None}
            scored = {"psnr": data, "psnr_test": test_data} if entrant.model else {}
            runner = upscaler.load(model) if any(scored.values()) else None
            for key, source in scored.items():
                if source and runner:
                    row[key] = evaluate.evaluate(runner, source, "rgb", progress, ssim=False)["mean"]["psnr"]
            row["published_db"] = published_db.get(entrant.config["network"])
            rows.append(row | models.challenge_counts(entrant.config, *SIZE))
        timing = benchmark.benchmark(files, SIZE, threads, runs, progress=progress)
    for row, result in zip(rows, timing["results"], strict=True):
        row["runtime_ms"], row["cpu_ms"] = result["latency_ms"]["p50"], result["cpu_ms"]["p50"]
        row["memory_bytes"] = result["peak_memory_bytes"]
    gate = baselines_gate(rows) if gate is None else gate
    gates = {"psnr": gate, "psnr_test": baselines_gate(rows, "psnr_test")}
    for row in rows:
        halves = [(row[key], least) for key, least in gates.items()]
        row["enters"] = all(psnr is None or least is None or psnr >= least for psnr, least in halves)
    give_places(rows)
    protocol = metrics.protocol(scale, "rgb") if data or test_data else None
    name, test_name = (Path(source).name if source else None for source in (data, test_data))
    head = {"format": FORMAT, "environment": timing["environment"], "scale": scale, "set": name, "gate_db": gate}
    head |= {"test_set": test_name, "test_gate_db": gates["psnr_test"], "protocol": protocol}
    return {**head, "rows": rows, "published": published}


def baselines_gate(rows: Sequence[dict[str, Any]], key: str = "psnr") -> float | None:
    """Returns a half of the gate in dB, one of MARGINS_DB below the baseline; None if the baseline was not measured.

    Args:
        rows: rows of the board.
        key: 'psnr' for the validation set, 'psnr_test' for the test set.
    """
    baseline = next((row[key] for row in rows if row["name"] == BASELINE), None)
    return None if baseline is None else baseline - MARGINS_DB[key == "psnr_test"]


def _published_db(published: Sequence[dict[str, Any]]) -> dict[str, float]:
    """{network: PSNR on DIV2K validation (RGB)} from the table.

    Of several teams with one network, the last of TEAMS: RFDN is there also for comparison, as it was first published.
    """
    psnr = {row["team"]: row["psnr_validation"] for row in published}
    teams = [team for team in TEAMS if team.network and not team.options and team.name in psnr]
    return {team.network: psnr[team.name] for team in teams if team.network}


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
        ranks = {m: rules.places([row[m] for row in measures]) for m in TRACKS["overall"]}
        tracks = {track: rules.standings([ranks[m] for m in of]) for track, of in TRACKS.items()}
        for k, row in enumerate(entered):
            row["ranks"][count] = {m: ranks[m][k] for m in ranks}
            row["places"][count] = {track: tracks[track][k] for track in tracks}
