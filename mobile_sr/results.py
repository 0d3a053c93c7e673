"""Typed results of the public functions: dataclasses that print well, show as tables in notebooks and convert to JSON."""

from __future__ import annotations

import copy
import html
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Result:
    """Base of all results.

    Attributes:
        record: the complete JSON-able result, as the command line writes it with --json.
    """

    record: dict[str, Any] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """A copy of `record`: plain dicts, lists, numbers and strings."""
        return copy.deepcopy(self.record)

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """(column names, rows) of the table that notebooks show."""
        return ["result"], [[repr(self)]]

    def _repr_html_(self) -> str:
        """The table for notebooks."""
        columns, rows = self.rows()
        head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


@dataclass(frozen=True)
class ImageScore:
    """Scores of one image.

    Attributes:
        name: file name, or the name that was given.
        psnr: PSNR in dB, infinite for identical images. Images that are too small for it are skipped.
        ssim: SSIM; None if the image is too small or SSIM was not asked for.
        bicubic_psnr: PSNR of bicubic interpolation in dB.
    """

    name: str
    psnr: float | None
    ssim: float | None
    bicubic_psnr: float | None


@dataclass(frozen=True)
class EvaluationResult(Result):
    """PSNR and SSIM of a model on a set of images.

    Attributes:
        model: name of the model.
        psnr: mean PSNR in dB.
        ssim: mean SSIM.
        bicubic_psnr: mean PSNR of bicubic interpolation in dB, for comparison.
        images: scores of the single images.
        protocol: colour space, shave, rounding and resizer of the scores.
        skipped: one line for each image that could not be used.
        device: label of the virtual device that ran the model; None for this machine.
    """

    model: str
    psnr: float | None
    ssim: float | None
    bicubic_psnr: float | None
    images: list[ImageScore] = field(repr=False)
    protocol: dict[str, Any] = field(repr=False)
    skipped: list[str]
    device: str | None = None

    @classmethod
    def of(cls, record: dict[str, Any]) -> EvaluationResult:
        """From the dict that `evaluation.evaluate.evaluate` returns."""
        images = [ImageScore(row["name"], row["psnr"], row["ssim"], row["bicubic_psnr"]) for row in record["images"]]
        mean = record["mean"]
        shown = (record["model"], mean["psnr"], mean["ssim"], record["bicubic"]["psnr"])
        return cls(record, *shown, images, record["protocol"], record["skipped"], record.get("device"))

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """One row per image, then the mean."""
        every = [*self.images, ImageScore(f"mean of {len(self.images)}", self.psnr, self.ssim, self.bicubic_psnr)]
        table = [[i.name, _number(i.psnr, 3), _number(i.ssim, 4), _number(i.bicubic_psnr, 3)] for i in every]
        return ["image", "PSNR (dB)", "SSIM", "bicubic (dB)"], table


@dataclass(frozen=True)
class ComparisonResult(Result):
    """The PSNR drop of one model against another, for example by quantization.

    Attributes:
        reference: name of the reference.
        model: name of the judged model.
        reference_psnr: mean PSNR of the reference in dB.
        model_psnr: mean PSNR of the judged model in dB.
        drop_db: `reference_psnr` - `model_psnr`; None if one of them is not finite.
        ssim_drop: the same for SSIM.
        reference_colour_error: largest error of the reference on 27 flat colours, in levels of 0..255.
        model_colour_error: the same for the judged model.
        crops: the windows in which the two models differ most, for `save`.
        device: label of the virtual device that ran the judged model; None for this machine.
    """

    reference: str
    model: str
    reference_psnr: float | None
    model_psnr: float | None
    drop_db: float | None
    ssim_drop: float | None
    reference_colour_error: int
    model_colour_error: int
    crops: list[dict[str, Any]] = field(repr=False)
    device: str | None = None

    @classmethod
    def of(cls, record: dict[str, Any], crops: list[dict[str, Any]]) -> ComparisonResult:
        """From what `evaluation.compare.compare` returns."""
        first, second = record["reference"], record["model"]
        colours = first["colour_error"]["flat"], second["colour_error"]["flat"]
        drops = record["drop_db"], record["ssim_drop"]
        names = first["name"], second["name"]
        return cls(record, *names, first["psnr"], second["psnr"], *drops, *colours, crops, second.get("device"))

    def save(self, folder: str | Path) -> Path:
        """Write report.html, report.md and report.json into `folder`; returns the path of report.html."""
        from mobile_sr.api import write_report

        return write_report(self, folder)

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """The two models and the drop."""
        sides = [self.record["reference"], self.record["model"]]
        table = [[s["name"], _number(s["psnr"], 3), _number(s["ssim"], 4), str(s["colour_error"]["flat"])] for s in sides]
        return ["model", "PSNR (dB)", "SSIM", "flat colours (levels)"], [
            *table,
            ["drop", _number(self.drop_db, 3), _number(self.ssim_drop, 4), ""],
        ]


@dataclass(frozen=True)
class ModelScore:
    """Figures of one model in a comparison of several.

    Attributes:
        model: name of the model.
        psnr: mean PSNR in dB.
        ssim: mean SSIM.
        gain_db: mean PSNR above bicubic interpolation.
        drop_db: mean PSNR below the reference; None without a reference.
        colour_error: largest error on 27 flat colours, in levels of 0..255.
        size_bytes: size of the file; None without one.
        instructions_per_lr_pixel: estimate for an Arm Cortex-A76; None unless the file is an 8-bit .tflite.
        time_ms: CPU time with one thread, else wall time; None on a virtual device.
        metrics: means of further metrics by name.
        device: label of the virtual device that ran the model; None for this machine.
    """

    model: str
    psnr: float | None
    ssim: float | None
    gain_db: float | None
    drop_db: float | None
    colour_error: int
    size_bytes: int | None
    instructions_per_lr_pixel: float | None
    time_ms: float | None
    metrics: dict[str, float | None]
    device: str | None = None


@dataclass(frozen=True)
class ModelsComparison(Result):
    """Several models on the same images.

    Attributes:
        models: one entry per model; the reference, if there is one, is the first.
        bicubic_psnr: mean PSNR of bicubic interpolation in dB.
        crops: the images on which the models differ most, for `save`.
    """

    models: list[ModelScore]
    bicubic_psnr: float | None
    crops: list[dict[str, Any]] = field(repr=False)

    @classmethod
    def of(cls, record: dict[str, Any], crops: list[dict[str, Any]]) -> ModelsComparison:
        """From what `evaluation.compare_models.compare_models` returns."""
        models = [
            ModelScore(
                entry["name"],
                entry["psnr"],
                entry["ssim"],
                entry["gain_db"],
                entry["drop_db"],
                entry["colour_error"]["flat"],
                entry.get("size_bytes"),
                entry["instructions_per_lr_pixel"],
                entry["time_ms"],
                entry["metrics"],
                entry.get("device"),
            )
            for entry in record["models"]
        ]
        return cls(record, models, record["bicubic"]["psnr"], crops)

    def save(self, folder: str | Path) -> Path:
        """Write the report (docs/guide/measure.md) into `folder`; returns the path of report.html."""
        from mobile_sr.api import write_report

        return write_report(self, folder)

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """One row per model, then bicubic."""
        table = [
            [m.model, _number(m.psnr, 3), _number(m.gain_db, 3), _number(m.ssim, 4), str(m.colour_error), _number(m.time_ms, 2)]
            for m in self.models
        ]
        columns = ["model", "PSNR (dB)", "gain (dB)", "SSIM", "flat colours (levels)", "time (ms)"]
        return columns, [*table, ["bicubic", _number(self.bicubic_psnr, 3), "", "", "", ""]]


@dataclass(frozen=True)
class Timing:
    """Figures of one model in one benchmark. On a virtual device it has no times.

    Attributes:
        model: name of the model.
        delegate: the delegate that was asked for, such as 'cpu', or the virtual device.
        latency_ms: median wall time of an inference in ms.
        cpu_ms: median CPU time of an inference in ms.
        memory_bytes: peak memory of a process that runs the model alone; None if the system does not report it.
        ratio_to_first: time, or instructions on a virtual device, divided by those of the first model.
        error: why the model could not be measured; None if it was.
        instructions_per_lr_pixel: of one inference; None if they are not counted.
        nodes: (operators that the delegate or device runs, all operators).
    """

    model: str
    delegate: str
    latency_ms: float | None
    cpu_ms: float | None
    memory_bytes: int | None
    ratio_to_first: float | None
    error: str | None
    instructions_per_lr_pixel: float | None = None
    nodes: tuple[int, int] | None = None


def _virtual_timing(row: dict[str, Any]) -> Timing:
    residency = row["residency"]
    counted = row["instructions_per_lr_pixel"], (residency["taken"], residency["nodes"])
    return Timing(row["model"], row["device"], None, None, None, row["ratio_to_first"], None, *counted)


@dataclass(frozen=True)
class BenchmarkResult(Result):
    """Latency and memory of .tflite files on one machine.

    Attributes:
        environment: machine, LiteRT version, image size, threads and rounds.
        timings: one entry per model.
    """

    environment: dict[str, Any] = field(repr=False)
    timings: list[Timing]

    @classmethod
    def of(cls, record: dict[str, Any]) -> BenchmarkResult:
        """From the dict that `benchmarking.benchmark.benchmark` or `benchmarking.virtual.measure` returns."""
        if record["where"] == "virtual":
            return cls(record, record["environment"], [_virtual_timing(row) for row in record["results"]])
        timings = [
            Timing(
                row["model"],
                row["requested_delegate"],
                row["latency_ms"]["p50"],
                row["cpu_ms"]["p50"],
                row["peak_memory_bytes"],
                row["ratio_to_first"],
                row["error"],
                nodes=(row["delegated_nodes"], row["nodes"]),
            )
            for row in record["results"]
        ]
        return cls(record, record["environment"], timings)

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """One row per model."""
        if self.record["where"] == "virtual":
            columns = ["model", "instructions per LR pixel", "operators taken", "ratio to first"]
            counts = [(t, "-" if t.nodes is None else "{} of {}".format(*t.nodes)) for t in self.timings]
            return columns, [
                [t.model, _number(t.instructions_per_lr_pixel, 0), taken, _number(t.ratio_to_first, 3)] for t, taken in counts
            ]
        table = [
            [
                t.model,
                _number(t.latency_ms, 2),
                _number(t.cpu_ms, 2),
                "-" if t.memory_bytes is None else f"{t.memory_bytes / 1e6:.1f}",
                _number(t.ratio_to_first, 3),
            ]
            for t in self.timings
        ]
        return ["model", "latency (ms)", "CPU (ms)", "memory (MB)", "ratio to first"], table


@dataclass(frozen=True)
class InspectionResult(Result):
    """Operators, partitions and checks of a .tflite file; operators of an .onnx file; layers of a .keras file.

    Attributes:
        model: name of the model.
        ops: {operator: count}.
        partitions: XNNPACK partitions; 1 where everything runs in the delegate, None for another format.
        size_bytes: size of the file.
        passed: whether all checks of the file's sidecar passed; None without a sidecar.
        layers: where the file loses against `reference`, layer by layer; None without a reference.
    """

    model: str
    ops: dict[str, int]
    partitions: int | None
    size_bytes: int
    passed: bool | None
    layers: dict[str, Any] | None = field(repr=False)

    @classmethod
    def of(cls, model: str, record: dict[str, Any], layers: dict[str, Any] | None) -> InspectionResult:
        """From the dict that `evaluation.compare.inspect` returns, and that of the quantization debugger."""
        checks = record.get("checks")
        passed = None if checks is None else all(check["passed"] for check in checks)
        whole = record if layers is None else {**record, "location": layers}
        return cls(whole, model, record["ops"], record.get("partitions"), record["size_bytes"], passed, layers)

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """One row per operator."""
        return ["operator", "count"], [[name, str(count)] for name, count in self.ops.items()]


@dataclass(frozen=True)
class ExportedFile:
    """One file that `export` wrote.

    Attributes:
        path: the .tflite or .onnx file.
        precision: such as 'uint8'.
        size_bytes: size of the file.
        sidecar: content of the JSON beside it (docs/reference/sidecar.md).
    """

    path: Path
    precision: str
    size_bytes: int
    sidecar: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class ExportResult(Result):
    """The files that `export` wrote; iterating yields their paths.

    Attributes:
        files: one entry per precision, in the order asked for.
    """

    files: list[ExportedFile]

    @classmethod
    def of(cls, files: list[ExportedFile]) -> ExportResult:
        """From the files; their sidecars become the record."""
        return cls({"files": [{"path": str(f.path), "precision": f.precision, **f.sidecar} for f in files]}, files)

    def __iter__(self) -> Iterator[Path]:
        return iter([file.path for file in self.files])

    def __getitem__(self, precision: str) -> Path:
        """The path of the file of one precision. Raises: KeyError when there is none."""
        for file in self.files:
            if file.precision == precision:
                return file.path
        raise KeyError(precision)

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """One row per file."""
        return ["file", "precision", "bytes"], [[str(f.path), f.precision, f"{f.size_bytes:,}"] for f in self.files]


@dataclass(frozen=True)
class TrainingResult(Result):
    """A finished training.

    Attributes:
        folder: the run folder; it is a model for every other function.
        psnr: validation score of the best weights in dB.
        selected_by: criterion of that score, such as 'rgb' or 'uint8'.
        step: step of the best weights; 0 for those that `init` gave.
    """

    folder: Path
    psnr: float
    selected_by: str
    step: int

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """The best weights."""
        cells = [str(self.folder), _number(self.psnr, 3), self.selected_by, f"{self.step:,}"]
        return ["run folder", "validation PSNR (dB)", "selected by", "step"], [cells]


@dataclass(frozen=True)
class SearchResult(Result):
    """A finished architecture search.

    Attributes:
        folder: the run folder, whose best.npz is the compact network.
        psnr: validation PSNR of the compact network in dB (RGB); of the recipe fgnas_plain, that of its uint8 file.
        architecture: channels and activations of every block, or channels of every layer, as in architecture.json.
    """

    folder: Path
    psnr: float
    architecture: dict[str, Any] = field(repr=False)
