"""Patch routing (ClassSR): training and running a classifier that picks a network for each patch."""
