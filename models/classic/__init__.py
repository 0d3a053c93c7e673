"""Networks of the literature that are neither of the challenge nor designed for phones."""
