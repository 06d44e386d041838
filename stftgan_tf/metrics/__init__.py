"""Distances between sets of windows, and the embedding they use."""
