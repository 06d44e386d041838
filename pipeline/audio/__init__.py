"""Decoding of recordings: container checks, decoders, reading, a process."""
