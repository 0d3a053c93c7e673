"""Writes a model card for each entry of the zoo: `python -m tools.zoo.cards docs/reference/cards`.

The text is card.md.template; the figures come from the entry's card in mobile_sr/zoo/, from its files and from
docs/measurements/devices.json.
"""

from pathlib import Path

from mobile_sr import files, models, zoo
from tools.zoo import command_line, device_pages, exits, peer_pages, templates

_TEXT = templates.Page("card")


def task(config):
    """The network of a configuration, in half a sentence."""
    network = config["network"]
    if network in (*models.NTIRE_2022, *models.TEAMS, *models.ORIGINAL, *models.COMPACT):
        return _TEXT.fill("network ntire", network=network)
    parts = [_TEXT.fill(f"network {network}")]
    if network == "espcn" and config.get("activation") == "relu":
        parts.append(_TEXT.fill("relu"))
    if models.exits(config):
        parts.append(_TEXT.fill("with exits", layers=", ".join(map(str, models.exits(config)))))
    if models.has_depth(config):
        parts.append(f" {_TEXT.fill('adapter')}")
    if config.get("depth") == "input":
        parts.append(f" {_TEXT.fill('given depth')}")
    return "".join(parts)


def card(name):
    """The Markdown of one entry's card."""
    entry, stem = zoo.card(name), zoo.resolve(f"{name}:float32").stem.removesuffix("_float32")
    config, training, scores = entry["config"], entry["training"], entry["scores"]
    paths = [zoo.resolve(name), *(zoo.resolve(f"{name}:{variant}") for variant in zoo.VARIANTS)]
    sidecar = files.read_json(paths[-1].with_suffix(".json"))
    pixels = sidecar["receptive_field"]
    depth = sidecar.get("desired_depth")
    text = _TEXT.fill(
        "page",
        name=name,
        scale=config["scale"],
        task=task(config),
        parameters=f"{entry['parameters']:,}",
        cost=f"{entry['multiply_adds_720p'] / 1e9:.2f}G",
        counted=_TEXT.fill("counted") if models.has_depth(config) else "",
        files=templates.table(["file", "bytes", "SHA-256"], map(_file, paths)),
        sidecars=f"{stem}_*.json",
        tensors=templates.table(["file", "end", "name", "type", "shape", "scale", "zero point"], _tensors(name)),
        receptive_field=_TEXT.fill("whole image") if pixels is None else _TEXT.fill("receptive field", pixels=pixels),
        depth_inputs=_TEXT.fill("depth inputs", low=depth[0], high=depth[1]) if depth else "",
        note=training["note"],
        stages="\n".join(map(_stage, training["stages"])),
        best_step=f"{training['best_step']:,}",
        validation=f"{training['validation_psnr_rgb']:.3f}",
        log=training["log"],
        at_depth=_TEXT.fill("at depth", depth=depth[1]) if depth else "",
        exits=_exits(name, entry),
        of_exits=_TEXT.fill("of exits") if exits.of(entry) else "",
        scores="\n".join(f"- {s}: {v['y']['float32']:.2f} -> {v['y']['uint8']:.2f}" for s, v in scores.items()),
        front=peer_pages.card_section(name),
        flat=_errors(entry, "flat"),
        ramps=_errors(entry, "ramps"),
        **_quantized_elsewhere(entry),
        virtual_devices=device_pages.card_section(name),
        licence=entry["licence"].replace("README, Licence", "[README, Licence](../../../README.md#licence)"),
    )
    return templates.wrap(text) + "\n"


def _exits(name, entry):
    """The table of an entry's exits; "" without any."""
    if not exits.of(entry):
        return ""
    table = exits.table(entry, device_pages.of_exits(name))
    return _TEXT.fill("exits", name=name, table=table, layers=exits.of(entry)[0]["layers"])


def _file(path):
    """The row of a file."""
    return [f"`{path.name}`", f"{path.stat().st_size:,}", f"`{files.sha256_file(path)}`"]


def _tensors(name):
    """The rows of an entry's inputs and outputs."""
    for variant in zoo.VARIANTS:
        sidecar = files.read_json(zoo.resolve(f"{name}:{variant}").with_suffix(".json"))
        for end in ("inputs", "outputs"):
            for tensor in sidecar[end]:
                shape = ", ".join("any" if side == -1 else str(side) for side in tensor["shape"])
                quantized = [f"{tensor['scale']:.9g}", str(tensor["zero_point"])] if tensor["scale"] is not None else ["", ""]
                yield [variant, end[:-1], f"`{tensor['name']}`", tensor["dtype"], shape, *quantized]


def _stage(stage):
    """The line of a stage of the training."""
    recipe = stage["recipe"]
    steps = zoo.steps_done(stage)
    return _TEXT.fill("stage", recipe=recipe["name"], steps=steps, batch=recipe["batch"], patch=recipe["patch"])


def _quantized_elsewhere(entry):
    """The placeholders about the quantization of the float32 file by TensorFlow alone."""
    found, scores = entry["plain_quantization"], entry["scores"]["Set5"]
    ours = {"Set5": {space: scores[space]["uint8"] for space in ("y", "rgb")}, "colour_error": entry["colour_error"]["uint8"]}
    result = {f"plain_{key}": found[key] for key in ("tool", "calibration")}
    for row, file in (("packaged", found["packaged"]), ("quantized", found["quantized"]), ("ours", ours)):
        drops = (f"{scores[space]['float32'] - file['Set5'][space]:z.2f}" for space in ("y", "rgb"))
        result[f"{row}_row"] = " | ".join((*drops, *(str(file["colour_error"][key]) for key in ("flat", "ramps"))))
    return result


def _errors(entry, key):
    """The colour errors of the float32 and the uint8 file."""
    return " -> ".join(str(entry["colour_error"][variant][key]) for variant in zoo.VARIANTS)


def write(folder):
    """Write NAME.md for each entry."""
    folder = files.make_folder(folder)
    for name in zoo.names():
        files.write_text(Path(folder) / f"{name}.md", card(name))


def main():
    """Command line of this module."""
    parser = command_line.Parser("cards", __doc__)
    parser.add_argument("folder", help="for the cards: docs/reference/cards")
    parser.run(write, parser.parse_args().folder)


if __name__ == "__main__":
    main()
