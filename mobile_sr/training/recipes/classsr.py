"""Joint training of two or more networks and the classifier that chooses among them (ClassSR, Kong et al., CVPR 2021).

The paper has three stages: the networks are trained alone, then the classifier, then all together. The first stage is any
recipe for each network. This recipe has the other two: its first `classifier_steps` steps train the classifier only. The
class and the balance loss have the weights of the authors' configuration, 0.5 and 3 beside an L1 loss of 1000. Cost: a step
takes as long as a step of each network together. Unlike in the paper, the networks' errors are weighted, not their outputs
(models/train_time/classsr.py). Result: docs/measurements/routing.md.

    mobile-sr train --recipe classsr_x3 --set network.files=runs/s,runs/m,runs/l --data TRAIN --out runs/joint
    mobile-sr route --model runs/joint --data TRAIN --out deploy/routed
"""

from mobile_sr.training.recipes import Recipe


def recipe(scale: int = 3, smoke: bool = False) -> Recipe:
    """The settings. `smoke`: a few steps of small patches."""
    r = Recipe(name="classsr", network={"network": "classsr", "scale": scale, "files": [], "patch": 32}, steps=60_000)
    r.network |= {"classifier_steps": 4000, "combine": "errors"}  # explicit, so that no run with another loss is resumed
    r.batch = 96
    r.patch = 32
    r.charbonnier_eps = 1e-3  # the losses of the classifier are weighted for an L1 loss
    r.brightness_factors = (1.0,)
    r.start_learning_rate, r.peak_learning_rate, r.end_learning_rate = 1e-5, 1e-4, 1e-6
    r.validate_every = 1000
    r.validation_images = 24
    if smoke:
        r.network["patch"], r.network["classifier_steps"] = 16, 20
        r.steps, r.batch, r.patch = 60, 4, 16
        r.validate_every, r.validation_images, r.validation_crop = 20, 2, 32
    return r
