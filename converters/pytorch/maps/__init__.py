"""The names in published PyTorch checkpoints, one function and one `Architecture` for each network."""
