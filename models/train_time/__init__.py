"""Changes to a network during training only: re-parameterized branches and rounded activations."""
