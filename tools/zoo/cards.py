"""Writes a model card for each entry of the zoo: `python -m tools.zoo.cards docs/cards`."""

from pathlib import Path

from mobile_sr import files, models, zoo
from tools.zoo import command_line

_TASK = {
    "xlsr": "[XLSR](https://arxiv.org/abs/2105.10288), a small plain network made for 8-bit NPUs (Ayazoglu, CVPRW 2021)",
    "fgnas": "a residual network whose channels and activations were searched under a budget "
    "([FGNAS](https://doi.org/10.1016/j.jvcir.2022.103654), Kim et al., JVCIR 2022)",
    "edsr": "EDSR, a residual network (Lim et al., CVPRW 2017)",
    "rcan": "RCAN, a residual network with channel attention (Zhang et al., ECCV 2018)",
    "fsrcnn": "FSRCNN in RGB (Dong et al., ECCV 2016)",
    "espcn": "ESPCN in RGB (Shi et al., CVPR 2016)",
    "srcnn": "SRCNN in RGB (Dong et al., TPAMI 2016)",
    "vdsr": "VDSR in RGB (Kim et al., CVPR 2016)",
    "abpn": "ABPN, the anchor-based plain net (Du et al., CVPRW 2021)",
}
_ADAPTER = (
    "with the adapter of [AdaDSR](https://arxiv.org/abs/2004.03915) (Liu et al., ECCVW 2020): its depth follows the image"
)
_LIMITS = (
    "LR images are expected to be clean and made by bicubic: noise, JPEG artefacts and blur are upscaled, not removed.",
    "It restores what a mean error rewards: textures come out smooth, nothing is invented.",
    "Trained on photographs; screenshots, text and drawings were not measured.",
    "The uint8 file's loss was measured on the sets above; other images may lose more (`mobile-sr compare` tells).",
)


def task(config):
    """What the network of a configuration is, in half a sentence."""
    if config["network"] in models.NTIRE_2022:
        return f"`{config['network']}` of the NTIRE 2022 efficient super-resolution challenge (Li et al., CVPRW 2022)"
    adapter = f" {_ADAPTER}" if models.has_depth(config) else ""
    return _TASK[config["network"]] + adapter + (" and a number given with it" if config.get("depth") == "input" else "")


def card(name):
    """The Markdown of one entry's card."""
    entry, stem = zoo.entry(name), zoo.resolve(f"{name}:float32").stem.removesuffix("_float32")
    config, training = entry["config"], entry["training"]
    scale = config["scale"]
    lines = [f"# {name}", "", f"Single-image super-resolution x{scale}: {task(config)}.", ""]
    cost = f"{entry['multiply_adds_720p'] / 1e9:.2f}G multiply-adds for a 1280x720 output"
    every = ", counted with all blocks at every pixel" if models.has_depth(config) else ""
    lines.append(f"{entry['parameters']:,} parameters, {cost}{every}.")
    lines += ["", "## Files", "", "| file | bytes | SHA-256 |", "|---|---|---|"]
    for file in (zoo.resolve(name), *(zoo.resolve(f"{name}:{variant}") for variant in zoo.VARIANTS)):
        lines.append(f"| `{file.name}` | {file.stat().st_size:,} | `{files.sha256_file(file)}` |")
    lines += [
        "",
        f"The `.npz` holds the Keras weights, from which the others were exported; `{stem}_*.json` beside each has its audit.",
    ]
    lines += ["", "## In and out", "", "| file | end | name | type | shape | scale | zero point |", "|---" * 7 + "|"]
    for variant in zoo.VARIANTS:
        sidecar = files.read_json(zoo.resolve(f"{name}:{variant}").with_suffix(".json"))
        for end in ("inputs", "outputs"):
            for tensor in sidecar[end]:
                shape = ", ".join("any" if side == -1 else str(side) for side in tensor["shape"])
                quantized = [f"{tensor['scale']:.9g}", str(tensor["zero_point"])] if tensor["scale"] is not None else ["", ""]
                shown = [variant, end[:-1], f"`{tensor['name']}`", tensor["dtype"], shape, *quantized]
                lines.append(f"| {' | '.join(shown)} |")
    field = sidecar["receptive_field"]
    seen = "the whole image" if field is None else f"{field} LR pixels to each side"
    lines += ["", f"Images are RGB, NHWC, real values in 0..1; an output pixel depends on {seen}."]
    depth = ""
    if sidecar.get("desired_depth"):
        low, high = sidecar["desired_depth"]
        depth = f", at a desired depth of {high}"
        lines.append(f"The scalar input is the desired depth, {low} to {high} blocks;")
        lines.append("the output of one channel is the depth of each pixel.")
    lines += ["", "## Training", "", training["note"], ""]
    for stage in training["stages"]:
        recipe = stage["recipe"]
        patches = f"{recipe['batch']} patches of {recipe['patch']} LR pixels"
        lines.append(f"- `{recipe['name']}`: {zoo.steps_done(stage)} of {patches}")
    best = f"{training['validation_psnr_rgb']:.3f} dB (RGB) on held-out training images"
    lines += ["", f"Kept: step {training['best_step']:,}, {best}; the log is `{training['log']}`."]
    lines += ["", "## Results", ""]
    lines += [f"PSNR in dB, Y, float32 -> uint8{depth}; [more](../results.md), [protocol](../protocol.md).", ""]
    lines += [f"- {s}: {v['y']['float32']:.2f} -> {v['y']['uint8']:.2f}" for s, v in entry["scores"].items()]
    errors = [entry["colour_error"][variant] for variant in zoo.VARIANTS]
    both = [" -> ".join(str(found[key]) for found in errors) for key in ("flat", "ramps")]
    lines += ["", f"Largest error in levels of 255, float32 -> uint8: {both[0]} on 27 flat colours, {both[1]} on colour ramps."]
    lines += ["", "## Limits", "", *(f"- {limit}" for limit in _LIMITS), "", "## Licence", ""]
    lines += [entry["licence"].replace("README, Licence", "[README, Licence](../../README.md#licence)"), ""]
    return "\n".join(lines)


def write(folder):
    """Write NAME.md for each entry."""
    folder = files.make_folder(folder)
    for name in zoo.names():
        files.write_text(Path(folder) / f"{name}.md", card(name))


def main():
    """Command line of this module."""
    parser = command_line.Parser("cards", __doc__)
    parser.add_argument("folder", help="for the cards: docs/cards")
    parser.run(write, parser.parse_args().folder)


if __name__ == "__main__":
    main()
