"""FGNAS: the architecture search, architecture files, budgets and latency tables."""
