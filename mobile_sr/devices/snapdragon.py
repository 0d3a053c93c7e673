"""Compiles .tflite files for the NPU of Snapdragon chips, ahead of time and offline.

The compiler is LiteRT's own (`apply_plugin_main` and Qualcomm's plugin in the ai-edge-litert package) with Qualcomm's
libraries from onnxruntime-qnn, the extra [snapdragon]. An app runs the result with LiteRT's CompiledModel
(docs/guide/snapdragon.md). The NPU may reject what the compiler wrote; only a phone tells.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import os
import platform
import re
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from mobile_sr.converters.tflite import flatbuffer
from mobile_sr.devices.device import Residency
from mobile_sr.errors import UserError, did_you_mean
from mobile_sr.files import temporary_folder

EXTRA = "pip install 'mobile-sr[snapdragon]'"


@dataclasses.dataclass(frozen=True)
class Chip:
    """A Snapdragon chip.

    Attributes:
        name: its name in shops.
        arch: version of its Hexagon NPU, such as 75 for v75.
    """

    name: str
    arch: int


# The SM... numbers are those that LiteRT's compiler accepts: SocModel in ai_edge_litert/aot/vendors/qualcomm/target.py of
# ai-edge-litert 2.3.0, and three that its plugin accepts beyond those. The architectures are those that the compiler itself
# prints when it is given the chip; ExecuTorch's backends/qualcomm/serialization/qc_schema.py agrees where it has the chip.
CHIPS: Mapping[str, Chip] = {
    "SM8350": Chip("Snapdragon 888", 68),
    "SM8450": Chip("Snapdragon 8 Gen 1", 69),
    "SM8475": Chip("Snapdragon 8+ Gen 1", 69),
    "SM8550": Chip("Snapdragon 8 Gen 2", 73),
    "SM7550": Chip("Snapdragon 7 Gen 3", 73),
    "SM8635": Chip("Snapdragon 8s Gen 3", 73),
    "SM8735": Chip("Snapdragon 8s Gen 4", 73),
    "SM8650": Chip("Snapdragon 8 Gen 3", 75),
    "SM8750": Chip("Snapdragon 8 Elite", 79),
    "SM8845": Chip("Snapdragon 8 Gen 5", 81),
    "SM8850": Chip("Snapdragon 8 Elite Gen 5", 81),
}


@dataclasses.dataclass(frozen=True)
class CompiledFile:
    """A .tflite compiled for one chip.

    Attributes:
        data: its bytes, for LiteRT's CompiledModel on that chip.
        soc: the chip, such as 'SM8650'.
        residency: operators compiled for the NPU; the others stay in the file as ordinary operators for the CPU.
        compiler: versions that compiled it, such as 'ai-edge-litert 2.3.0, QNN 2.51.0'.
    """

    data: bytes
    soc: str
    residency: Residency
    compiler: str


def check_chip(soc: str) -> str:
    """Returns the name of a chip as in CHIPS; upper and lower case are the same. Raises UserError for an unknown chip."""
    known = soc.strip().upper()
    if known not in CHIPS:
        raise UserError(f"--soc {soc}: unknown chip; use {', '.join(CHIPS)}{did_you_mean(soc, CHIPS)}")
    return known


def compile_for(data: bytes, name: str | Path, soc: str) -> CompiledFile:
    """Compiles a .tflite for the NPU of a chip.

    Args:
        data: bytes of a file with one subgraph and a fixed input size.
        name: name of the file in messages.
        soc: the chip, a key of CHIPS.

    Raises:
        UserError: the chip is unknown, the input size is dynamic, the extra is missing or the machine is not Linux on x86-64,
            the compiler fails or the NPU runs no operator.
    """
    soc = check_chip(soc)
    _check_size(data, name)
    libraries = qualcomm_libraries()
    program, plugins = _compiler()
    with temporary_folder("mobile-sr-snapdragon-") as folder:
        (folder / "libQnnLpai.so").write_bytes(empty_library("libQnnLpai.so"))
        source, target = folder / "model.tflite", folder / "compiled.tflite"
        source.write_bytes(data)
        search = [*libraries, program.parents[1], folder]
        command = [str(program), "--cmd=apply", f"--libs={plugins}", f"--model={source}", f"--o={target}"]
        command += ["--soc_manufacturer=Qualcomm", f"--soc_model={soc}"]
        environment = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(map(str, search))}
        try:
            done = subprocess.run(command, capture_output=True, cwd=folder, env=environment, check=False)
        except OSError as error:
            raise UserError(f"{name}: {program} cannot be run ({error.strerror})") from None
        printed = (done.stdout + done.stderr).decode(errors="replace")
        compiled = target.read_bytes() if target.exists() else b""
    residency = _residency(printed, compiled)
    if done.returncode or not compiled or residency is None:
        raise UserError(f"{name}: cannot be compiled for {soc} ({_reason(printed, done.returncode)})")
    if not residency.taken:
        raise UserError(f"{name}: the NPU of {soc} runs none of its {residency.nodes} operators")
    return CompiledFile(compiled, soc, residency, _versions(printed))


def qualcomm_libraries() -> list[Path]:
    """Returns the folders of Qualcomm's libraries. Raises UserError if the extra is missing or unusable on this machine."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise UserError(
            f"Qualcomm's NPU libraries run on Linux on x86-64; this machine has {platform.system()} on {platform.machine()}"
        )
    spec = importlib.util.find_spec("onnxruntime_qnn")
    if spec is None or spec.origin is None:
        raise UserError(f"Qualcomm's NPU libraries are not installed; {EXTRA}")
    folder = Path(spec.origin).parent
    if not (folder / "libQnnHtp.so").exists():
        raise UserError(f"{folder}: libQnnHtp.so is missing; pip install --force-reinstall onnxruntime-qnn")
    return [folder, folder.with_name("onnxruntime_qnn.libs")]


def _check_size(data: bytes, name: str | Path) -> None:
    """Raises UserError unless the file has one graph of a fixed input size."""
    try:
        graph = flatbuffer.parse(data)
    except flatbuffer.TFLiteFileError as error:
        raise UserError(f"{name}: {error}") from None
    if len(graph.signatures) > 1:
        raise UserError(f"{name}: has the signatures {', '.join(graph.signatures)}; export it with --path dense")
    for index in graph.inputs:
        tensor = graph.tensors[index]
        if -1 in tensor.shape:
            raise UserError(
                f"{name}: its input has the dynamic shape {tensor.shape}; an NPU needs a fixed one: export it with --height "
                "and --width"
            )


def _compiler() -> tuple[Path, Path]:
    """Returns (LiteRT's compiler, the folder of Qualcomm's plugin)."""
    spec = importlib.util.find_spec("ai_edge_litert")
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    program, plugins = folder / "tools" / "apply_plugin_main", folder / "vendors" / "qualcomm" / "compiler"
    for path in (program, plugins):
        if not path.exists():
            raise UserError(f"{path}: not in this version of ai-edge-litert; pip install 'ai-edge-litert>=2.3'")
    return program, plugins


def _residency(printed: str, compiled: bytes) -> Residency | None:
    """Reads the partitions from the output of the compiler, and the refused operators from the compiled file."""
    match = re.search(r"selected (\d+) ops, from a total of (\d+) ops. resulted in (\d+) partitions", printed)
    if match is None:
        return None
    taken, nodes, partitions = map(int, match.groups())
    if taken == nodes or not compiled:
        return Residency(nodes, taken, {}, partitions)
    unknown = {name.lower() for name in re.findall(r"LiteRT Op #\d+ '(\w+)' .* is not supported", printed)}
    invalid = {name.lower() for name in re.findall(r"master op validator (\w+?)_?\d*:", printed)}
    refused = {}
    for index, op in enumerate(flatbuffer.parse(compiled).ops):
        kind = op.name.replace("_", "").lower()
        reason = "fails QNN's check of the operator" if kind in invalid else "the compiler gives no reason"
        if not op.custom:
            refused[f"{op.name}_{index}"] = "not supported by LiteRT's compiler for Qualcomm" if kind in unknown else reason
    return Residency(nodes, taken, refused, partitions)


def _reason(printed: str, status: int) -> str:
    """Returns the first error that the compiler printed, without its position in the compiler's source."""
    # "ERROR: [file.cc:480] text", where the text may be on the next line; other errors only repeat where they passed.
    for text in re.findall(r"^ERROR: \[[^\]]*\]\s+(.*)", printed, re.MULTILINE):
        if not text.startswith(("ERROR:", "INFO:", "WARNING:")):
            return text.strip()
    library = re.search(r"[\w.+-]+\.so[\w.]*: cannot open shared object file", printed)
    return library[0] if library else f"the compiler ended with status {status}"


def _versions(printed: str) -> str:
    sdk = re.search(r"SDK version: v(\d+\.\d+\.\d+)", printed)
    return f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}, QNN {sdk[1] if sdk else 'unknown'}"


def empty_library(soname: str) -> bytes:
    """Returns a shared library for Linux on x86-64 that contains nothing.

    Qualcomm's plugin is linked to libQnnLpai.so, which no package contains and which compiling for the HTP does not use. The
    loader is satisfied with any library of that name.

    Args:
        soname: the library's name.
    """
    names = b"\0" + soname.encode() + b"\0"
    headers, entry, symbol = 64, 56, 24  # bytes of the ELF header, of a program header and of a symbol
    symbols = headers + 2 * entry
    strings = symbols + symbol
    dynamic = -(-(strings + len(names)) // 8) * 8
    # Tags SONAME, STRTAB, STRSZ, SYMTAB, SYMENT and the end (System V ABI, "Dynamic Section").
    tags = [(14, 1), (5, strings), (10, len(names)), (6, symbols), (11, symbol), (0, 0)]
    end = dynamic + 16 * len(tags)
    identification = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")  # 64 bits, little endian, version 1
    # Type 3 is a shared object, machine 62 is x86-64.
    header = struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, headers, 0, 0, headers, entry, 2, 64, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 6, 0, 0, 0, end, end, 4096)
    table = struct.pack("<IIQQQQQQ", 2, 6, dynamic, dynamic, dynamic, end - dynamic, end - dynamic, 8)
    content = identification + header + load + table + bytes(symbol) + names
    return content.ljust(dynamic, b"\0") + b"".join(struct.pack("<QQ", *tag) for tag in tags)
