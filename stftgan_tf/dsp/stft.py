"""The short-time Fourier transform and log-magnitudes, with their inverses.

    samples -> forward -> log_magnitude -> Moments.standardise -> window
    samples <- GraphStft.inverse <- phase <- inverse_log_magnitude <-
        Moments.inverse_standardise <- window

Analysis uses NumPy and SciPy in float32, so Beam workers need no TensorFlow.
`graph_stft` and `phase` are what exports do in their graph. Shapes: N samples,
T frames, F bins. An STFT has F + 1 bins (with Nyquist), a window has F
(without).
"""

import functools
import math
from typing import Any

import numpy as np
import scipy.fft
import scipy.signal

from stftgan_tf.config import Config, StftConfig

# Spread of the Gaussian exp(-pi n^2 / (spread length^2)) that is closest
# to a Hann window (Prusa et al. 2017, "A Noniterative Method for
# Reconstruction of Phase from STFT Magnitude", table I: C_g).
HANN_SPREAD = 0.25645

# Frames that `log_spectrogram` transforms at once.
_BLOCK_FRAMES = 128


@functools.lru_cache(maxsize=8)
def analysis_window(frame_length: int) -> np.ndarray:
    """The periodic Hann window, float32 [frame_length], read-only."""
    window = scipy.signal.get_window("hann", frame_length).astype(np.float32)
    window.setflags(write=False)
    return window


def amplitude_scale(config: StftConfig) -> float:
    """Factor that turns a sine of amplitude 1 into a bin of magnitude 1.

    It makes the one-sided amplitude spectrum: 2 / sum(window).
    """
    return 2.0 / float(analysis_window(config.frame_length).sum())


def bin_hz(config: Config) -> np.ndarray:
    """Centre frequency of each bin of a window in Hz, float64 [F]."""
    length = config.stft.frame_length
    return np.arange(config.stft.bins) * config.audio.sample_rate_hz / length


def forward(samples: np.ndarray, config: StftConfig) -> np.ndarray:
    """Computes the STFT, scaled by `amplitude_scale`.

    The first frame starts at sample 0; frames are not centred. Samples after
    the last whole frame are ignored.

    Args:
      samples: float32 [N], at least one frame long.
      config: frame length and step.

    Returns:
      complex64 [T, F + 1] with T = 1 + (N - frame_length) // frame_step.

    Raises:
      ValueError: if there is less than one frame.
    """
    length, step = config.frame_length, config.frame_step
    if samples.shape[-1] < length:
        raise ValueError(
            f"{samples.shape[-1]} samples; expected at least {length}"
        )
    frames = np.lib.stride_tricks.sliding_window_view(samples, length)
    scaled = analysis_window(length) * np.float32(amplitude_scale(config))
    # SciPy computes in float32, NumPy's rfft in float64.
    return scipy.fft.rfft(frames[::step] * scaled, axis=-1)


def log_magnitude(stfts: np.ndarray, config: Config) -> np.ndarray:
    """Natural log of the magnitudes, floored, without the Nyquist bin.

    Args:
      stfts: complex64 [..., T, F + 1] from `forward`.
      config: defines the floor (`Config.log_floor`).

    Returns:
      float32 [..., T, F].
    """
    floor = np.float32(np.exp(config.log_floor))
    return np.log(np.maximum(np.abs(stfts[..., :-1]), floor))


def log_spectrogram(samples: np.ndarray, config: Config) -> np.ndarray:
    """Computes `log_magnitude` of `forward`, bit for bit, but 4 times faster.

    It works on blocks of frames, whose temporary arrays fit into the caches.

    Args:
      samples: float32 [N], at least one frame long.
      config: STFT and floor.

    Returns:
      float32 [T, F].
    """
    length, step = config.stft.frame_length, config.stft.frame_step
    frames = 1 + (len(samples) - length) // step
    logs = np.empty((frames, config.stft.bins), np.float32)
    for start in range(0, frames, _BLOCK_FRAMES):
        stop = min(start + _BLOCK_FRAMES, frames)
        block = samples[start * step : (stop - 1) * step + length]
        logs[start:stop] = log_magnitude(forward(block, config.stft), config)
    return logs


def inverse_log_magnitude(log_magnitudes: Any, config: Config) -> Any:
    """Computes magnitudes from their logs and adds a silent Nyquist bin.

    `model.subtract_floor` times the floor is subtracted from each magnitude
    (Boll 1979, "Suppression of acoustic noise in speech using spectral
    subtraction", section II), so bins at the floor become silent. A generator
    puts many of them slightly above it, which would be heard as noise.

    Args:
      log_magnitudes: float32 tensor [..., T, F].
      config: the floor, and how many times it is subtracted.

    Returns:
      float32 tensor [..., T, F + 1].
    """
    import tensorflow as tf

    floor = config.model.subtract_floor * math.exp(config.log_floor)
    magnitudes = tf.nn.relu(tf.exp(log_magnitudes) - floor)
    return tf.concat([magnitudes, tf.zeros_like(magnitudes[..., :1])], axis=-1)
