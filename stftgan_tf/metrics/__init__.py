"""Metrics of generated windows, and their registry."""
