"""PyTorch checkpoints without PyTorch: reading them safely and mapping their keys to Keras weights."""
