"""FGNAS: architecture search, architecture files, cost budgets and latency tables."""
