"""Import of published PyTorch checkpoints: reading them without unpickling, and from their arrays to a model folder."""
