"""The STFT and its inverse, phase reconstruction."""
