"""Serving exports over TensorFlow Serving's protocol, and a client for it."""
