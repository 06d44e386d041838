"""Recordings as samples: containers, decoders, levels, a separate process."""
