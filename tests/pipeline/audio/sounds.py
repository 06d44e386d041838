"""Signals and sound files that the tests of this directory share."""

import os
import tempfile

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


def encode_with_av(samples, suffix, codec, rate=None):
    """Bytes of a file that PyAV writes."""
    import av

    rate = rate or {"libopus": 48000}.get(codec, RATE)
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "a" + suffix)
        with av.open(path, "w") as container:
            stream = container.add_stream(codec, rate=rate, layout="mono")
            layout = {"format": "fltp", "layout": "mono"}
            frame = av.AudioFrame.from_ndarray(
                np.float32(samples)[None], **layout
            )
            frame.sample_rate, frame.pts = rate, 0
            resampler = av.AudioResampler(
                stream.codec_context.format, "mono", rate
            )
            frames = [*resampler.resample(frame), *resampler.resample(None)]
            for part in [*frames, None]:
                container.mux(stream.encode(part))
        with open(path, "rb") as file:
            return file.read()
