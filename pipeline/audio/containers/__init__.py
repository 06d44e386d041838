"""Which files are audio, and where the audio is in them."""
