"""Write the operators of LiteRT's delegates from its sources: converters/tflite/delegate_operators.json.

python -m tools.delegate_operators LITERT_CHECKOUT converters/tflite/delegate_operators.json
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = "google-ai-edge/LiteRT"
_LIST = r"{}\[\] = \{{(.*?)\}};"
# {delegate: (file, pattern of the part with the operators, prefix of their names, whether they are those left out)}.
SOURCES = {
    "gpu": ("tflite/tools/versioning/gpu_compatibility.cc", "(.*)", "case kTfLiteBuiltin", False),
    "qualcomm": ("litert/vendors/qualcomm/compiler/Qualcomm_QNN_Compiler.md", "(.*)", "kLiteRtOpCodeTfl", False),
    "mediatek": (
        "litert/vendors/mediatek/compiler/compiler_plugin.cc",
        _LIST.format("kSupportedOps"),
        "kLiteRtOpCodeTfl",
        False,
    ),
    "samsung": ("litert/vendors/samsung/compiler/create_model.cc", "(.*)", "case kLiteRtOpCodeTfl", False),
    "google": (
        "litert/vendors/google_tensor/compiler/compiler_plugin.cc",
        _LIST.format("kUnSupportedOps"),
        "kLiteRtOpCodeTfl",
        True,
    ),
    "intel": (
        "litert/vendors/intel_openvino/compiler/openvino_compiler_plugin.cc",
        _LIST.format("kSupportedOps"),
        "kLiteRtOpCodeTfl",
        False,
    ),
}


def operators(delegate: str, text: str) -> list[str]:
    """Names such as 'CONV_2D' in the source of a delegate, sorted; StableHLO's and custom operators are left out."""
    from ai_edge_litert import schema_py_generated as schema

    known = {name.replace("_", "").lower(): name for name in vars(schema.BuiltinOperator) if name.isupper()}
    _, part, prefix, _ = SOURCES[delegate]
    match = re.search(part, text, re.DOTALL)
    if match is None:
        raise SystemExit(f"{SOURCES[delegate][0]}: no list of operators; it has changed")
    found = {name.lower() for name in re.findall(rf"{prefix}(\w+)", match[1])}
    found = {name for name in found if not name.startswith("stablehlo") and name != "custom"}
    if unknown := sorted(found - known.keys()):
        raise SystemExit(f"{SOURCES[delegate][0]}: unknown operators {', '.join(unknown)}")
    return sorted(known[name] for name in found)


def table(folder: Path, commit: str) -> dict[str, Any]:
    """The content of the JSON file for a checkout of LiteRT at a commit."""
    rows = {}
    for delegate, (file, _, _, left_out) in SOURCES.items():
        key = "unsupported" if left_out else "operators"
        names = " ".join(operators(delegate, (folder / file).read_text()))
        rows[delegate] = {"source": f"{REPOSITORY}@{commit}:{file}", key: names}
    return rows


if __name__ == "__main__":
    checkout = Path(sys.argv[1])
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True).stdout.strip()
    Path(sys.argv[2]).write_text(json.dumps(table(checkout, head), indent=1) + "\n")
