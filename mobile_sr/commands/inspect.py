"""The audit of a .tflite file: operators, delegate partitions, inputs and outputs with their quantization.

Example: mobile-sr inspect --model xlsr_x3:uint8
"""

from mobile_sr.commands import common

HELP = "operators, partitions and quantization of a .tflite"


def add_arguments(parser):
    """Arguments of `mobile-sr inspect`."""
    parser.add_argument("--model", required=True, help="a .tflite file[@signature=NAME] or a packaged one: xlsr_x3:uint8")
    common.add_json(parser)


def run(args):
    """Print the audit; status 1 when a check of its sidecar failed."""
    import sys

    from mobile_sr import compare, model_files

    facts = compare.inspect(args.model)
    out = sys.stderr if args.json == "-" else sys.stdout
    print(
        f"{model_files.locate(args.model)[0]}: {facts['size_bytes']:,} bytes, {facts['partitions']} XNNPACK partition(s)",
        file=out,
    )
    if "signatures" in facts:
        print(f"  signature {facts['signature']} of {', '.join(facts['signatures'])}", file=out)
    for name, count in facts["ops"].items():
        print(f"  {count:4d}  {name}", file=out)
    for end in ("inputs", "outputs"):
        for t in facts[end]:
            quantization = f"  scale {t['scale']:.9g}  zero point {t['zero_point']}" if t["scale"] is not None else ""
            print(f"  {end[:-1]:<6}  {t['name']}  {t['dtype']} {t['shape']}{quantization}", file=out)
    for check in facts.get("checks", []):
        print(f"  {'passed' if check['passed'] else 'FAILED'}  {check['check']}", file=out)
    common.write_json_result(args, facts)
    return 0 if all(check["passed"] for check in facts.get("checks", [])) else 1
