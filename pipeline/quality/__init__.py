"""Checks of a data set: its integrity, and whether it is fit to train on."""
