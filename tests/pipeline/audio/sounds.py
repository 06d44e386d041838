"""Signals and sound files that the tests of this directory share."""

import numpy as np
import soundfile

from tests.conftest import noise

RATE = 8000


def sine(rate, secs=1.0, hz=440.0, amplitude=0.5):
    times = np.arange(int(rate * secs)) / rate
    return amplitude * np.sin(2 * np.pi * hz * times)


def write(path, rate=RATE, samples=None, **kwargs):
    """Writes a sound file, one second of noise by default."""
    path = str(path)
    kwargs.setdefault("format", "OGG" if path.endswith("opus") else None)
    samples = noise(RATE) if samples is None else samples
    soundfile.write(path, samples, rate, **kwargs)
