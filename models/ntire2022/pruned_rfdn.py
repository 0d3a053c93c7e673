"""The pruned RFDN of team MegSR in the NTIRE 2022 efficient super-resolution challenge.

Paper: Li et al., CVPRW 2022, MegSR's section: RFDN of 40 channels whose stages have no skip. Published for 0..255.
"""

from mobile_sr.models.ntire2022.rfdn import RECEPTIVE_FIELD, SMALLEST_SIDE, distillation_network

__all__ = ["RECEPTIVE_FIELD", "SMALLEST_SIDE", "build"]


def build(scale=4, output_activation="clipped_relu", channels=40, distilled=20, attention=12, blocks=4):
    """The pruned RFDN as a functional Keras model; 289,888 parameters at x4. The rest as for rfdn.build."""
    return distillation_network("pruned_rfdn", scale, output_activation, channels, distilled, attention, blocks, residual=False)
