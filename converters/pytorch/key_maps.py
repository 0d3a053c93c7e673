"""Maps keys of published PyTorch checkpoints to layers of the Keras networks: {prefix of the key: layer name}.

There is one function for each network; NAMES lists them. The rest of a key ("weight", "bias") depends on the class of the
layer; see keras_weights.py. RANGES gives the range of images that a network was published for: 1 for 0..1, 255 for 0..255.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mobile_sr.converters.pytorch import mobile

_STAGES = (1, 2, 3)
_ESA = {"conv1": "reduce", "conv_f": "skip", "conv2": "stride", "conv4": "expand"}
_COARSE_THREE = {"conv_max": "conv1", "conv3": "conv2", "conv3_": "conv3"}
_ESA_THREE = _ESA | _COARSE_THREE
_ESA_ONE = _ESA | {"conv3": "conv1"}
_ESA_TWO = {"conv1": "reduce", "conv_f": "skip", "conv4": "expand", "conv_2": "conv1", "conv_3": "conv2", "conv_23": "conv3"}


def _blocks(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(block name B1, B2, ... in the checkpoint, block1, ... in the Keras network)."""
    return [(f"B{k}", f"block{k}") for k in range(1, config["blocks"] + 1)]


def _head_and_tail(fused: bool = False) -> dict[str, str]:
    names = {"fea_conv": "head", "LR_conv": "body", "upsampler.0": "tail"}
    return names | ({"c.0": "blocks_fuse"} if fused else {})


def _distillation(config: Mapping[str, Any], esa: Mapping[str, str], refine: str = "", fused: bool = True) -> dict[str, str]:
    names = _head_and_tail(fused)
    for source, target in _blocks(config):
        for k in _STAGES:
            names |= {f"{source}.c{k}_d": f"{target}_stage{k}_distill", f"{source}.c{k}_r{refine}": f"{target}_stage{k}_refine"}
        names |= {f"{source}.c4{refine}": f"{target}_stage4", f"{source}.c5": f"{target}_fuse"}
        names |= {f"{source}.esa.{a}": f"{target}_esa_{b}" for a, b in esa.items()}
    return names


def imdn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of IMDN, in the form of the challenge's baseline."""
    names, count = {"model.0": "head", "model.2": "tail"}, config["blocks"]
    for k in range(count):
        names |= {f"model.1.sub.{k}.conv{stage}.0": f"block{k + 1}_conv{stage}" for stage in _STAGES}
        names |= {f"model.1.sub.{k}.conv4": f"block{k + 1}_conv4", f"model.1.sub.{k}.conv1x1": f"block{k + 1}_fuse"}
    return names | {f"model.1.sub.{count}": "body"}


def rfdn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of RFDN and its pruned version."""
    return _distillation(config, _ESA_THREE)


def efdn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of EFDN as submitted, with plain convolutions."""
    return _distillation(config, _ESA_TWO, ".conv3x3", fused=False)


def rlfn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of RLFN as submitted."""
    names = _head_and_tail()
    for source, target in _blocks(config):
        names |= {f"{source}.c{k}_r": f"{target}_conv{k}" for k in _STAGES} | {f"{source}.c5": f"{target}_fuse"}
        names |= {f"{source}.esa.{a}": f"{target}_esa_{b}" for a, b in _ESA_ONE.items()}
    return names


def fmen(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of FMEN as submitted, with plain convolutions."""
    names = {"head": "head", "warmup.0": "warmup", "lr_conv": "body", "tail.0": "tail"}

    def attention(source: str, target: str, pairs: int) -> dict[str, str]:
        result = {f"{source}.squeeze": f"{target}_squeeze", f"{source}.excitate": f"{target}_excite"}
        for pair in range(pairs):
            result |= {f"{source}.convs.{pair}.conv{k}.rep_conv": f"{target}_pair{pair + 1}_conv{k}" for k in (1, 2)}
        return result

    names |= attention("warmup.1", "warmup_attention", 2)
    for k in range(config["blocks"]):
        names |= {f"basic_blocks.{k}.conv{i}.rep_conv": f"block{k + 1}_conv{i}" for i in (1, 2)}
        names |= attention(f"hfabs.{k}", f"block{k + 1}_attention", 1)
    return names


def bsrn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of BSRN as submitted, with linear layers as 1x1 convolutions."""
    names = {"c1": "blocks_fuse_linear", "upsampler.upsampleOneStep.0": "tail"}

    def blueprint(source: str, target: str) -> dict[str, str]:
        return {f"{source}.pw": f"{target}_linear", f"{source}.dw": f"{target}_depthwise"}

    names |= blueprint("fea_conv", "head") | blueprint("c2", "body")
    for source, target in _blocks(config):
        for k in _STAGES:
            names |= {f"{source}.c{k}_d": f"{target}_stage{k}_distill_linear"}
            names |= blueprint(f"{source}.c{k}_r", f"{target}_stage{k}_refine")
        names |= blueprint(f"{source}.c4", f"{target}_stage4")
        names |= {
            f"{source}.c5": f"{target}_fuse_linear",
            source: f"{target}_esa_weights",
            f"{source}.esa.conv2": f"{target}_esa_stride",
        }
        names |= {f"{source}.conv_out": f"{target}_esa_out_linear"}
        for a, b in (("conv1", "reduce"), ("conv_f", "skip"), ("conv4", "expand")):
            names |= {f"{source}.esa.{a}": f"{target}_esa_{b}_linear"}
        for a, b in _COARSE_THREE.items():
            names |= blueprint(f"{source}.esa.{a}", f"{target}_esa_{b}")
    return names


def arfdn(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of ARFDN as submitted."""
    names = _head_and_tail(fused=True)
    for source, target in _blocks(config):
        for k in _STAGES:
            names |= {f"{source}.c{k - 1}_d": f"{target}_stage{k}_distill"}
            names |= {f"{source}.c{k}_{part}": f"{target}_stage{k}_{part}" for part in ("l1", "l2", "m1", "m2")}
        names |= {f"{source}.c4": f"{target}_stage4", f"{source}.c5": f"{target}_fuse"}
        names |= {f"{source}.mpa.{a}": f"{target}_esa_{b}" for a, b in _ESA_THREE.items()}
    return names


def imdn_plus(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of IMDN+ as submitted, with plain convolutions."""
    names, count = {"FEM.0": "head", "RM.0": "tail"}, config["blocks"]
    for k in range(count):
        names |= {f"FEM.1.sub.{k}.c{stage}": f"block{k + 1}_conv{stage}" for stage in range(1, 7)}
        names |= {f"FEM.1.sub.{k}.c7": f"block{k + 1}_fuse"}
    return names | {f"FEM.1.sub.{count}": "body"}


def mobilesr(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of MobileSR as submitted."""
    names = {"head": "head", "fuse": "fuse", "tail": "tail", "upsapling.0": "up1"}
    names |= {"upsapling.2": "up2"} if config["scale"] == 4 else {}
    for k in range(len(config["ratios"])):
        former, latter, target = f"body.layers.{k}.0", f"body.layers.{k}.1", f"block{k + 1}"
        names |= {f"{former}.pos_embed": f"{target}_position", f"{former}.attn": f"{target}_attention"}
        names |= {f"{former}.norm{i}": f"{target}_norm{i}" for i in (1, 2)}
        names |= {f"{former}.mlp.fc.0": f"{target}_mlp1_linear", f"{former}.mlp.fc.2": f"{target}_mlp2_linear"}
        names |= {f"{latter}.net.{i}": f"{target}_{part}" for i, part in ((0, "expand"), (2, "depthwise"), (4, "project"))}
    return names


NAMES: dict[str, Callable[[Mapping[str, Any]], dict[str, str]]] = {
    **{"imdn": imdn, "rfdn": rfdn, "rlfn": rlfn, "fmen": fmen, "efdn": efdn, "bsrn": bsrn, "arfdn": arfdn},
    **{"imdn_plus": imdn_plus, "pruned_rfdn": rfdn, "mobilesr": mobilesr},
    **{"etds": mobile.etds, "abpn": mobile.abpn, "ecbsr": mobile.ecbsr},
}
RANGES = dict.fromkeys(NAMES, 1) | dict.fromkeys(("rfdn", "rlfn", "fmen", "efdn", "pruned_rfdn"), 255)
# Networks that are published in several forms: the function that converts the arrays of any of them.
STATES: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {"etds": mobile.etds_state, "ecbsr": mobile.ecbsr_state}
