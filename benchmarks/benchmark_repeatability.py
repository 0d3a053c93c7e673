"""Repeatability of `mobile-sr benchmark`: compares the ratios of two runs, and its memory figure with GNU time.

Example: python benchmarks/benchmark_repeatability.py --model xlsr_x3:float32 --model xlsr_x3:uint8 --runs 40
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

GNU_TIME = "/usr/bin/time"
RATIO_GOAL, MEMORY_GOAL = 0.05, 0.15
IMPORTS = "import ai_edge_litert.interpreter, ai_edge_litert.schema_py_generated, mobile_sr.inference.litert"
# The work of the benchmark's child process in plain calls of the runtime: open, allocate, invoke three times.
RUN = """
import sys
path, height, width, threads = sys.argv[1], *map(int, sys.argv[2:])
i = ai_edge_litert.interpreter.Interpreter(model_path=path, num_threads=threads)
i.resize_tensor_input(i.get_input_details()[0]["index"], (1, height, width, 3))
i.allocate_tensors()
for _ in range(3):
    i.invoke()
"""


def benchmark(models, options):
    """Returns the JSON of one run of `mobile-sr benchmark`."""
    command = [sys.executable, "-m", "mobile_sr", "benchmark", *options, "--json", "-"]
    for model in models:
        command += ["--model", model]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def peak_bytes(*command):
    """Returns the peak resident set size of a command in bytes, as reported by GNU time."""
    output = subprocess.run([GNU_TIME, "-v", *command], capture_output=True, text=True, check=True).stderr
    return 1024 * int(re.search(r"Maximum resident set size \(kbytes\): (\d+)", output)[1])


def main():
    """Prints both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model",
        action="append",
        help="a .tflite file or a packaged one; default xlsr_x3:float32, xlsr_x3:uint8",
    )
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=40)
    args = parser.parse_args()
    models = args.model or ["xlsr_x3:float32", "xlsr_x3:uint8"]
    numbers = [str(n) for n in (args.height, args.width, args.threads)]
    options = ["--height", numbers[0], "--width", numbers[1], "--threads", numbers[2], "--runs", str(args.runs)]
    first, second = (benchmark(models, options)["results"] for _ in range(2))
    for a, b in zip(first[1:], second[1:], strict=True):
        difference = abs(a["ratio_to_first"] / b["ratio_to_first"] - 1)
        ratios = f"{a['ratio_to_first']:.3f} and {b['ratio_to_first']:.3f}"
        print(f"{a['model']}: ratios {ratios}, {difference:.1%} apart (goal {RATIO_GOAL:.0%})")
    if not os.access(GNU_TIME, os.X_OK):
        print(f"{GNU_TIME} not found (apt install time): memory not compared")
        return
    imports = peak_bytes(sys.executable, "-c", IMPORTS)
    for row in first:
        path = row["model"]
        if not Path(path).exists():
            from mobile_sr import zoo

            path = str(zoo.resolve(path))
        expected = peak_bytes(sys.executable, "-c", IMPORTS + RUN, path, *numbers) - imports
        difference = abs(row["peak_memory_bytes"] / expected - 1)
        figures = f"{row['peak_memory_bytes'] / 1e6:.1f} MB, GNU time {expected / 1e6:.1f} MB"
        print(f"{row['model']}: {figures}, {difference:.1%} apart (goal {MEMORY_GOAL:.0%})")


if __name__ == "__main__":
    main()
