"""Patch routing (ClassSR): running and training a classifier that picks a network for each patch."""
