"""Signals and sound files that tests share."""

import dataclasses
import importlib.util
import io
import os
import tempfile

import numpy as np
import pytest
import soundfile

from pipeline.audio import opening
from pipeline.audio.decoders.base import Excerpt
from stftgan_tf.config import AudioConfig
from tests.conftest import noise

RATE = 8000

HAS_AV = importlib.util.find_spec("av") is not None
needs_av = pytest.mark.skipif(not HAS_AV, reason="PyAV is not installed")


@dataclasses.dataclass
class Decoded:
    """A recording as a decoder gives it."""

    rate_hz: int
    samples: np.ndarray
    notes: tuple[str, ...]


def decode(source, block=10_000):
    """Decodes a file or an excerpt from its beginning to its end."""
    config = AudioConfig(sample_rate_hz=RATE)
    source = source if isinstance(source, Excerpt) else str(source)
    with opening.open_recording(source, config) as decoder:
        blocks, count = [], 0
        while len(samples := decoder.read(count, block)):
            blocks.append(samples)
            count += len(samples)
        assert decoder.frames - decoder.slack <= count <= decoder.frames
        samples = np.concatenate(blocks) if blocks else np.zeros((0, 1))
        return Decoded(decoder.rate_hz, samples, decoder.notes)


def decode_part(source, start, count):
    """Decodes a part of a file."""
    config = AudioConfig(sample_rate_hz=RATE)
    with opening.open_recording(str(source), config) as decoder:
        return decoder.read(start, count)


def sine(rate, secs=1.0, hz=440.0, amplitude=0.5):
    times = np.arange(int(rate * secs)) / rate
    return amplitude * np.sin(2 * np.pi * hz * times)


def word(rate_hz, secs, rng):
    """A vowel: harmonics of 100 to 200 Hz that rise and fall."""
    time = np.arange(round(rate_hz * secs)) / rate_hz
    pitch = rng.uniform(100, 200)
    tones = [
        np.sin(2 * np.pi * k * pitch * time) / k
        for k in range(1, round(0.45 * rate_hz / pitch))
    ]
    return 0.2 * np.sin(np.pi * time / secs) * np.sum(tones, axis=0)


def powers(*parts):
    """Powers of blocks, float32 [N], of (number of blocks, level in dB)."""
    blocks = [np.full(count, 10 ** (db / 10)) for count, db in parts]
    return np.concatenate(blocks).astype(np.float32)


def encode(samples, kind, subtype=None, rate=RATE, **options):
    """Bytes of a file that libsndfile writes."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype, format=kind, **options)
    return file.getvalue()


def write(path, rate=RATE, samples=None, **kwargs):
    """Writes a sound file, one second of noise by default."""
    path = str(path)
    kwargs.setdefault("format", "OGG" if path.endswith("opus") else None)
    samples = noise(RATE) if samples is None else samples
    soundfile.write(path, samples, rate, **kwargs)


class Pipe:
    """A file in which a writer cannot seek."""

    def __init__(self):
        self.data = b""

    def write(self, data):
        self.data += bytes(data)
        return len(data)


def encode_with_av(samples, suffix, codec, rate=None, options=None):
    """Bytes of a file that PyAV writes."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "a" + suffix)
        _write_with_av(path, None, samples, codec, rate, options)
        with open(path, "rb") as file:
            return file.read()


def stream_with_av(samples, av_format, codec, rate=None, options=None):
    """Bytes that PyAV writes into a pipe."""
    pipe = Pipe()
    _write_with_av(pipe, av_format, samples, codec, rate, options)
    return pipe.data


def _write_with_av(file, av_format, samples, codec, rate, options):
    import av

    rate = rate or {"libopus": 48000}.get(codec, RATE)
    with av.open(file, "w", format=av_format, options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        layout = {"format": "fltp", "layout": "mono"}
        frame = av.AudioFrame.from_ndarray(np.float32(samples)[None], **layout)
        frame.sample_rate, frame.pts = rate, 0
        resampler = av.AudioResampler(stream.codec_context.format, "mono", rate)
        frames = [*resampler.resample(frame), *resampler.resample(None)]
        for part in [*frames, None]:
            container.mux(stream.encode(part))
