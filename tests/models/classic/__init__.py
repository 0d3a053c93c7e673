"""Tests of models/classic."""
