"""Conversion of PyTorch checkpoints to Keras weights without PyTorch."""
