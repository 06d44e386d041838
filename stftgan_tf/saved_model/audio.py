"""Samples as files, and long samples cut to a length."""

import io

import numpy as np
import soundfile


def shorten(audio: np.ndarray, secs: float, rate_hz: int) -> np.ndarray:
    """Keeps the first `secs` seconds of audio [B, N], as a copy.

    The last 10 ms are faded out, because a hard cut clicks.
    """
    audio = audio[:, : round(secs * rate_hz)].copy()
    fade = min(rate_hz // 100, audio.shape[1])
    audio[:, audio.shape[1] - fade :] *= np.linspace(1, 0, fade)
    return audio


def encode(audio: np.ndarray, rate_hz: int, kind: str) -> bytes:
    """A file with 16 bits per sample of audio [N].

    Args:
      audio: samples from -1 to 1.
      rate_hz: the sample rate.
      kind: wav or flac.
    """
    file = io.BytesIO()
    soundfile.write(file, audio, rate_hz, format=kind, subtype="PCM_16")
    return file.getvalue()
