"""mobile-sr: super-resolution networks for phones, from training to a verified uint8 .tflite file."""

__version__ = "0.1.0"


def load(model, scale=None, threads=1):
    """An Upscaler for a zoo name or a file; see mobile_sr.inference.upscaler.load."""
    from mobile_sr.inference import upscaler

    return upscaler.load(model, scale, threads)
