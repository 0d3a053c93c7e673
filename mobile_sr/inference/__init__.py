"""Inference: the Upscaler, one runner per file format, value ranges and channel order, sidecars and weight files."""
