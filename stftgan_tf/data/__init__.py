"""The record schema and the input pipeline."""
