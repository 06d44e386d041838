"""Metrics of generated windows, and the table that names them."""
