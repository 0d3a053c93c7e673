"""Fine-tuning of a trained XLSR or ChainSR on degraded LR images: JPEG of medium to high quality and light noise.

The result upscales photos and video as they are. On clean images it is below the network that it starts from, because it
cannot tell faint texture from noise. Flat colours and ramps get noise and JPEG, too.

Result: 4,000 steps of chainsr_m_robust_x2 and 5,000 of chainsr_m_robust_x3 gained 0.5 to 1.4 dB (Y, uint8) over the clean
networks at JPEG 75 with noise 2 (docs/measurements/training.md). All 60,000 steps were not measured.

    mobile-sr train --recipe xlsr_robust_x3 --init xlsr_x3 --data TRAIN --out runs/robust
    mobile-sr train --recipe chainsr_m_robust_x3 --init runs/chainsr_m --data TRAIN --out runs/chainsr_m_robust
"""

from mobile_sr.training.recipes import Recipe, chainsr, xlsr_finetune


def recipe(scale: int = 3, smoke: bool = False, size: str = "") -> Recipe:
    """The settings for ChainSR of a size from chainsr.SIZES, or for XLSR; `smoke` as in xlsr.py and chainsr.py."""
    r = chainsr.recipe(scale, smoke, size) if size else xlsr_finetune.recipe(scale, smoke)
    r.degrade = "noise=0..4,jpeg=60..95"
    r.branches = "none"
    r.downscale_factors = ()
    r.optimizer = "soap"
    r.luminance_weight = 1.0
    r.flat_share = 0.1  # without it, an XLSR x3 moved flat colours by up to 8 levels (docs/measurements/training.md)
    r.start_learning_rate, r.peak_learning_rate, r.end_learning_rate = 1e-5, 1e-3, 1e-5
    if not smoke:
        r.steps = 60_000
    return r
