"""Where each key of a published PyTorch checkpoint goes: {prefix of the key: layer of the Keras network}.

One function for each network, of its complete configuration; NAMES lists them. What stands behind a prefix ("weight", "bias")
follows from the layer's kind: from_torch.py. RANGES are the pictures that a network was published for, 0..1 or 0..255.
"""

_STAGES = (1, 2, 3)
_ESA = {"conv1": "reduce", "conv_f": "skip", "conv2": "stride", "conv4": "expand"}
_COARSE_THREE = {"conv_max": "conv1", "conv3": "conv2", "conv3_": "conv3"}
_ESA_THREE = _ESA | _COARSE_THREE
_ESA_ONE = _ESA | {"conv3": "conv1"}
_ESA_TWO = {"conv1": "reduce", "conv_f": "skip", "conv4": "expand", "conv_2": "conv1", "conv_3": "conv2", "conv_23": "conv3"}


def _blocks(config):
    """(block as B1, B2, ... of the checkpoint, as block1, ... of ours)."""
    return [(f"B{k}", f"block{k}") for k in range(1, config["blocks"] + 1)]


def _ends(fused=False):
    ends = {"fea_conv": "head", "LR_conv": "body", "upsampler.0": "tail"}
    return ends | ({"c.0": "blocks_fuse"} if fused else {})


def _distillation(config, esa, refine="", fused=True):
    names = _ends(fused)
    for theirs, ours in _blocks(config):
        for k in _STAGES:
            names |= {f"{theirs}.c{k}_d": f"{ours}_stage{k}_distill", f"{theirs}.c{k}_r{refine}": f"{ours}_stage{k}_refine"}
        names |= {f"{theirs}.c4{refine}": f"{ours}_stage4", f"{theirs}.c5": f"{ours}_fuse"}
        names |= {f"{theirs}.esa.{a}": f"{ours}_esa_{b}" for a, b in esa.items()}
    return names


def imdn(config):
    """IMDN, in the form of the challenge's baseline."""
    names, count = {"model.0": "head", "model.2": "tail"}, config["blocks"]
    for k in range(count):
        names |= {f"model.1.sub.{k}.conv{stage}.0": f"block{k + 1}_conv{stage}" for stage in _STAGES}
        names |= {f"model.1.sub.{k}.conv4": f"block{k + 1}_conv4", f"model.1.sub.{k}.conv1x1": f"block{k + 1}_fuse"}
    return names | {f"model.1.sub.{count}": "body"}


def rfdn(config):
    """RFDN, and its pruned version."""
    return _distillation(config, _ESA_THREE)


def efdn(config):
    """EFDN, as submitted: with plain convolutions."""
    return _distillation(config, _ESA_TWO, ".conv3x3", fused=False)


def rlfn(config):
    """RLFN, as submitted."""
    names = _ends()
    for theirs, ours in _blocks(config):
        names |= {f"{theirs}.c{k}_r": f"{ours}_conv{k}" for k in _STAGES} | {f"{theirs}.c5": f"{ours}_fuse"}
        names |= {f"{theirs}.esa.{a}": f"{ours}_esa_{b}" for a, b in _ESA_ONE.items()}
    return names


def fmen(config):
    """FMEN, as submitted: with plain convolutions."""
    names = {"head": "head", "warmup.0": "warmup", "lr_conv": "body", "tail.0": "tail"}

    def attention(theirs, ours, pairs):
        found = {f"{theirs}.squeeze": f"{ours}_squeeze", f"{theirs}.excitate": f"{ours}_excite"}
        for pair in range(pairs):
            found |= {f"{theirs}.convs.{pair}.conv{k}.rep_conv": f"{ours}_pair{pair + 1}_conv{k}" for k in (1, 2)}
        return found

    names |= attention("warmup.1", "warmup_attention", 2)
    for k in range(config["blocks"]):
        names |= {f"basic_blocks.{k}.conv{i}.rep_conv": f"block{k + 1}_conv{i}" for i in (1, 2)}
        names |= attention(f"hfabs.{k}", f"block{k + 1}_attention", 1)
    return names


def bsrn(config):
    """BSRN, as submitted: with linear layers for 1x1 convolutions."""
    names = {"c1": "blocks_fuse_linear", "upsampler.upsampleOneStep.0": "tail"}

    def blueprint(theirs, ours):
        return {f"{theirs}.pw": f"{ours}_linear", f"{theirs}.dw": f"{ours}_depthwise"}

    names |= blueprint("fea_conv", "head") | blueprint("c2", "body")
    for theirs, ours in _blocks(config):
        for k in _STAGES:
            names |= {f"{theirs}.c{k}_d": f"{ours}_stage{k}_distill_linear"}
            names |= blueprint(f"{theirs}.c{k}_r", f"{ours}_stage{k}_refine")
        names |= blueprint(f"{theirs}.c4", f"{ours}_stage4")
        names |= {
            f"{theirs}.c5": f"{ours}_fuse_linear",
            theirs: f"{ours}_esa_weights",
            f"{theirs}.esa.conv2": f"{ours}_esa_stride",
        }
        names |= {f"{theirs}.conv_out": f"{ours}_esa_out_linear"}
        for a, b in (("conv1", "reduce"), ("conv_f", "skip"), ("conv4", "expand")):
            names |= {f"{theirs}.esa.{a}": f"{ours}_esa_{b}_linear"}
        for a, b in _COARSE_THREE.items():
            names |= blueprint(f"{theirs}.esa.{a}", f"{ours}_esa_{b}")
    return names


def arfdn(config):
    """ARFDN, as submitted."""
    names = _ends(fused=True)
    for theirs, ours in _blocks(config):
        for k in _STAGES:
            names |= {f"{theirs}.c{k - 1}_d": f"{ours}_stage{k}_distill"}
            names |= {f"{theirs}.c{k}_{part}": f"{ours}_stage{k}_{part}" for part in ("l1", "l2", "m1", "m2")}
        names |= {f"{theirs}.c4": f"{ours}_stage4", f"{theirs}.c5": f"{ours}_fuse"}
        names |= {f"{theirs}.mpa.{a}": f"{ours}_esa_{b}" for a, b in _ESA_THREE.items()}
    return names


def imdn_plus(config):
    """IMDN+, as submitted: with plain convolutions."""
    names, count = {"FEM.0": "head", "RM.0": "tail"}, config["blocks"]
    for k in range(count):
        names |= {f"FEM.1.sub.{k}.c{stage}": f"block{k + 1}_conv{stage}" for stage in range(1, 7)}
        names |= {f"FEM.1.sub.{k}.c7": f"block{k + 1}_fuse"}
    return names | {f"FEM.1.sub.{count}": "body"}


def mobilesr(config):
    """MobileSR, as submitted."""
    names = {"head": "head", "fuse": "fuse", "tail": "tail", "upsapling.0": "up1"}
    names |= {"upsapling.2": "up2"} if config["scale"] == 4 else {}
    for k in range(len(config["ratios"])):
        former, latter, ours = f"body.layers.{k}.0", f"body.layers.{k}.1", f"block{k + 1}"
        names |= {f"{former}.pos_embed": f"{ours}_position", f"{former}.attn": f"{ours}_attention"}
        names |= {f"{former}.norm{i}": f"{ours}_norm{i}" for i in (1, 2)}
        names |= {f"{former}.mlp.fc.0": f"{ours}_mlp1_linear", f"{former}.mlp.fc.2": f"{ours}_mlp2_linear"}
        names |= {f"{latter}.net.{i}": f"{ours}_{part}" for i, part in ((0, "expand"), (2, "depthwise"), (4, "project"))}
    return names


NAMES = {
    **{"imdn": imdn, "rfdn": rfdn, "rlfn": rlfn, "fmen": fmen, "efdn": efdn, "bsrn": bsrn, "arfdn": arfdn},
    **{"imdn_plus": imdn_plus, "pruned_rfdn": rfdn, "mobilesr": mobilesr},
}
RANGES = dict.fromkeys(NAMES, 1) | dict.fromkeys(("rfdn", "rlfn", "fmen", "efdn", "pruned_rfdn"), 255)
