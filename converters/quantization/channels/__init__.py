"""Other channels for the same function: scaled, mixed or copied, so that rounding to 8 bits costs less at the output."""
