"""The measures, tracks and places of the NTIRE 2022 efficient super-resolution challenge, for networks measured here.

Li et al., CVPRW 2022, Sec. 2.3 and Table 1: a network that keeps the baseline's PSNR enters; the main track ranks by runtime,
sub-track 1 by the sum of the ranks in parameters and FLOPs, sub-track 2 by that over all five measures.
"""

import dataclasses
import tempfile
from pathlib import Path

from mobile_sr import models, zoo
from mobile_sr.benchmarking import benchmark
from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError
from mobile_sr.evaluation import evaluate
from mobile_sr.imaging import metrics
from mobile_sr.inference import model_files, upscaler, weights
from mobile_sr.quantization import export

FORMAT = "mobile-sr scoreboard 1"
SIZE = (256, 256)  # LR input at which the challenge counts
TRACKS = {
    "main": ("runtime_ms",),
    "complexity": ("parameters", "flops"),
    "overall": ("runtime_ms", "parameters", "flops", "activations", "memory_bytes"),
}
COUNTS = {"script": "script_flops", "true": "multiply_adds"}  # what `flops` stands for
BASELINE, MARGIN_DB = "imdn", 29.13 - 28.95  # the least PSNR on DIV2K's validation set, below the baseline's there
# PSNR on DIV2K validation (RGB) that Table 1 prints. IMDN and RFDN stand there for comparison and have no place.
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
    """A network on the board: its name there, its configuration, and the model its weights come from (None: untrained)."""

    name: str
    config: dict
    model: str = None


def entrants(names=(), folder=None, scale=4):
    """The Entrants of names: networks, or trained models (zoo names, .npz files, run folders).

    Args:
        names: none stands for the challenge's ten.
        folder: where NAME/best.npz are a network's weights, as import-weights writes them; a network without is untrained.
        scale: of all of them.
    Raises: UserError for a name that is neither, a model of another scale, or a folder that holds another network by a name.
    """
    if folder is not None and not Path(folder).is_dir():
        raise UserError(f"--weights {folder}: no such folder")
    found = []
    for name in names or models.NTIRE_2022:
        if name in models.NETWORKS:
            config, model = {"network": name, "scale": scale, "output_activation": "clipped_relu"}, None
            if folder is not None and (Path(folder) / name / "best.npz").exists():
                model = str(Path(folder) / name)
        elif name in zoo.names() or Path(name).exists():
            config, model = None, name
        else:
            raise UserError(f"--net {name}: no network, zoo name or trained model; networks: {', '.join(models.NETWORKS)}")
        if model is not None:
            file, title = model_files.trained(model)
            read = weights.read_arrays(file)[1].get("config", {})
            if config and read.get("network") != name:
                raise UserError(f"{file}: a network '{read.get('network')}', not '{name}'")
            if read.get("scale") != scale:
                raise UserError(f"{model}: of scale {read.get('scale')}; the board is for x{scale} (--scale)")
            config, name = read, name if config else title
        found.append(Entrant(name, config, model))
    names = [entrant.name for entrant in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(f"--net {twice}: twice on the board")
    return found


def measure(board, data=None, gate=None, runs=12, threads=1, log=print, progress=None):
    """Measure Entrants in one interleaved run of their float32 .tflite files and give them their places.

    Args:
        board: [Entrant] of one scale.
        data: folder of the PSNR set, None for no PSNR: all then enter.
        gate: least PSNR in dB to enter; None is the baseline's on `data` less MARGIN_DB where it is on the board with weights.
    Returns: JSON-able {"format", "environment", "set", "gate_db", "protocol", "rows"}; a row has {"name", "weights": "given" or
        "untrained", "psnr": dB in RGB with `scale` pixels cut, or None, "published_db", "enters", the counts of
        counts.counts at SIZE, "runtime_ms" (median wall time), "cpu_ms", "memory_bytes" (peak of a process that runs
        it), "places": {"script": {track: place}, "true": ...}}, places None for what does not enter.
    Raises: UserError for unusable data or weights.
    """
    rows, files = [], []
    scale = board[0].config["scale"]
    if data:
        next(evaluate.each_pair(data, scale, []))  # before the work: raises UserError when there is nothing
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
        found = benchmark.benchmark(files, SIZE, threads, runs, progress=progress)
    for row, result in zip(rows, found["results"], strict=True):
        row["runtime_ms"], row["cpu_ms"] = result["latency_ms"]["p50"], result["cpu_ms"]["p50"]
        row["memory_bytes"] = result["peak_memory_bytes"]
    gate = baselines_gate(rows) if gate is None else gate
    for row in rows:
        row["enters"] = gate is None or row["psnr"] is None or row["psnr"] >= gate
    give_places(rows)
    protocol = metrics.protocol(scale, "rgb") if data else None
    named = str(Path(data).name) if data else None
    head = {"format": FORMAT, "environment": found["environment"], "scale": scale, "set": named, "gate_db": gate}
    return {**head, "protocol": protocol, "rows": rows}


def baselines_gate(rows):
    """The least PSNR to enter, in dB: MARGIN_DB below the baseline's; None without a PSNR of it."""
    baseline = next((row["psnr"] for row in rows if row["name"] == BASELINE), None)
    return None if baseline is None else baseline - MARGIN_DB


def untrained(entrant, folder):
    """The path of a model file in `folder` with an Entrant's network as it is built, from a fixed seed."""
    import keras

    keras.utils.set_random_seed(0)
    with quiet():
        model = models.build(entrant.config)
    file = folder / f"{entrant.name}.npz"
    weights.save_model(file, model, entrant.config, {})
    return str(file)


def give_places(rows):
    """Add "ranks" and "places" to the rows by both ways of counting; None to those that do not enter."""
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


def places(values):
    """The place of each value, the smallest first; equal ones share the better place, and the next place is left out."""
    return [1 + sum(other < value for other in values) for value in values]


def standings(ranks):
    """The places by the sums of ranks, [measures][networks] -> [networks] (the challenge's ranking statistic)."""
    return places([sum(of_one) for of_one in zip(*ranks, strict=True)])
