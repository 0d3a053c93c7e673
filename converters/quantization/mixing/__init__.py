"""Mixes the channels of linear tensors, so that 8 bits represent them with less noise at the network's output."""
