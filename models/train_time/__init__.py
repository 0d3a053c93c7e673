"""What changes a network only while it trains: re-parameterized branches and rounded activations."""
