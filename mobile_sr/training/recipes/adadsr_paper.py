"""AdaEDSR, AdaRCAN and their backbones with the paper's sizes and schedule (Liu et al., ECCVW 2020, Sec. 4.1), for a GPU.

800 epochs of 1,000 steps. AdaDSR starts from its trained backbone. This project has not run these recipes.

    mobile-sr train --recipe edsr_paper_x2 --data DIV2K_train_HR --out runs/edsr
    mobile-sr train --recipe adaedsr_paper_x2 --init runs/edsr --data DIV2K_train_HR --out runs/adaedsr
"""

from mobile_sr.training.recipes import Recipe


def recipe(scale: int = 2, smoke: bool = False, network: str = "edsr", depth: str = "none") -> Recipe:
    """The paper's settings, with one linear decay instead of a halving every 200 epochs; `smoke`: 30 steps, a small network."""
    r = Recipe(name="adadsr_paper", network={"network": network, "scale": scale, "output_activation": "linear"}, steps=800_000)
    r.network["depth"] = depth
    r.batch = 16
    r.patch = 48
    r.charbonnier_eps = 1e-3
    r.brightness_factors = (1.0,)
    r.start_learning_rate, r.peak_learning_rate, r.end_learning_rate = 5e-5, 5e-5 if depth != "none" else 1e-4, 6e-6
    r.validate_every = 1000
    r.validation_images = 10
    if depth != "none":
        r.depth_weight = {"edsr": 0.01, "rcan": 0.03}[network] / 255  # the paper's weights are for images in 0..255
    if smoke:
        r.network |= {"blocks": 2, "channels": 8} | ({"groups": 2, "reduction": 4} if network == "rcan" else {})
        r.steps, r.batch, r.patch, r.warmup_fraction = 30, 4, 16, 0.2
        r.validate_every, r.validation_images, r.validation_crop = 10, 2, 24
    return r
