"""Decoding of recordings: containers, decoders, levels, the worker process."""
