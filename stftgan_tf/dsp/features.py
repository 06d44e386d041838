"""The STFT and what follows it, each step beside its mirror-named inverse.

    samples -> stft -> log_magnitude -> standardise -> window in [-1, 1]
    samples <- inverse_stft <- inverse_log_magnitude <- inverse_standardise

Analysis is NumPy and SciPy in float32, so that pipeline workers need no
TensorFlow; what runs inside graphs (training input, export) is TensorFlow,
imported where it is used. Shapes: N samples, T frames, F bins; an STFT has
F + 1 bins (with Nyquist), a window F (without).
"""

import dataclasses
import functools
from typing import Any

import numpy as np
import scipy.fft
import scipy.signal

from stftgan_tf.config import Config, StftConfig

# Standard deviations that [-1, 1] spans, as in SpecGAN (Donahue et al. 2019,
# "Adversarial Audio Synthesis", section 3.2).
CLIP_SIGMAS = 3.0

# Frames whose STFT is taken at once.
_BLOCK = 128

# A bin that hardly varies (rounding alone) must not be blown up.
MIN_STD = 1e-2


@dataclasses.dataclass(frozen=True)
class Moments:
    """Per-bin moments of the training split's log-magnitudes.

    Attributes:
      mean: float32 [F].
      std: float32 [F], at least `MIN_STD`.
    """

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def neutral(cls, config: Config) -> "Moments":
        """0 and 1: for networks that no data is at hand for."""
        bins = config.stft.bins
        return cls(np.zeros(bins, np.float32), np.ones(bins, np.float32))

    @classmethod
    def from_dict(cls, values: dict[str, list[float]]) -> "Moments":
        """From the lists of a manifest."""
        std = np.maximum(np.float32(values["std"]), np.float32(MIN_STD))
        return cls(mean=np.float32(values["mean"]), std=std)


@functools.lru_cache(maxsize=8)
def analysis_window(config: StftConfig) -> np.ndarray:
    """The periodic window, float32 [frame_length], read-only."""
    window = scipy.signal.get_window("hann", config.frame_length)
    window = window.astype(np.float32)
    window.setflags(write=False)
    return window


def amplitude_scale(config: StftConfig) -> float:
    """Factor by which a sine of amplitude 1 becomes a bin of magnitude 1.

    The one-sided amplitude spectrum: 2 / sum(window).
    """
    return 2.0 / float(analysis_window(config).sum())


def bin_hz(config: Config) -> np.ndarray:
    """Centre of each bin of a window, in Hz: float64 [F]."""
    length = config.stft.frame_length
    return np.arange(config.stft.bins) * config.audio.sample_rate_hz / length


def stft(samples: np.ndarray, config: StftConfig) -> np.ndarray:
    """Short-time Fourier transform, scaled by `amplitude_scale`.

    Frames start at sample 0 and are not centred; samples after the last whole
    frame are not seen.

    Args:
      samples: float32 [N], N at least one frame.
      config: frame length and step.

    Returns:
      complex64 [T, F + 1], T = 1 + (N - frame_length) // frame_step.

    Raises:
      ValueError: if there is less than one frame.
    """
    length, step = config.frame_length, config.frame_step
    if samples.shape[-1] < length:
        raise ValueError(
            f"{samples.shape[-1]} samples; expected at least {length}"
        )
    frames = np.lib.stride_tricks.sliding_window_view(samples, length)
    scaled = analysis_window(config) * np.float32(amplitude_scale(config))
    # SciPy keeps float32 where NumPy's rfft computes in float64.
    return scipy.fft.rfft(frames[::step] * scaled, axis=-1)


def inverse_stft(stfts: Any, config: StftConfig) -> Any:
    """The inverse of `stft`, in the TensorFlow graph.

    Overlap-add with the dual window (Griffin & Lim 1984, section II), so that
    an STFT of full overlap comes back exactly; within a frame of either end,
    where frames are missing, the signal fades.

    Args:
      stfts: complex64 [..., T, F + 1].
      config: frame length and step.

    Returns:
      float32 [..., (T - 1) * frame_step + frame_length].
    """
    import tensorflow as tf

    length, step = config.frame_length, config.frame_step
    samples = tf.signal.inverse_stft(
        stfts,
        frame_length=length,
        frame_step=step,
        fft_length=length,
        window_fn=tf.signal.inverse_stft_window_fn(step, window_of(config)),
    )
    return samples / amplitude_scale(config)


def window_of(config: StftConfig) -> Any:
    """The analysis window as `tf.signal` asks for windows."""
    import tensorflow as tf

    def window_fn(length, dtype=tf.float32):
        return tf.constant(analysis_window(config), dtype)

    return window_fn


def log_magnitude(stfts: np.ndarray, config: Config) -> np.ndarray:
    """Natural log of the magnitudes, floored; Nyquist is dropped.

    Args:
      stfts: complex64 [..., T, F + 1] as `stft` gives it.
      config: says the floor (`Config.log_floor`).

    Returns:
      float32 [..., T, F].
    """
    floor = np.float32(np.exp(config.log_floor))
    return np.log(np.maximum(np.abs(stfts[..., :-1]), floor))


def log_spectrogram(samples: np.ndarray, config: Config) -> np.ndarray:
    """`log_magnitude` of `stft`, the same bits in a quarter of the time.

    In blocks of frames: temporary arrays that fit the caches.

    Args:
      samples: float32 [N], N at least one frame.
      config: STFT and floor.

    Returns:
      float32 [T, F].
    """
    length, step = config.stft.frame_length, config.stft.frame_step
    frames = 1 + (len(samples) - length) // step
    out = np.empty((frames, config.stft.bins), np.float32)
    for start in range(0, frames, _BLOCK):
        stop = min(start + _BLOCK, frames)
        block = samples[start * step : (stop - 1) * step + length]
        out[start:stop] = log_magnitude(stft(block, config.stft), config)
    return out


def inverse_log_magnitude(log_magnitudes: Any) -> Any:
    """Magnitudes from their logs, with a silent Nyquist bin put back.

    Args:
      log_magnitudes: float32 tensor [..., T, F].

    Returns:
      float32 tensor [..., T, F + 1].
    """
    import tensorflow as tf

    magnitudes = tf.exp(log_magnitudes)
    return tf.concat([magnitudes, tf.zeros_like(magnitudes[..., :1])], axis=-1)


def standardise(log_magnitudes: Any, moments: Moments) -> Any:
    """Log-magnitudes as a window: per bin, 3 sigma become [-1, 1], clipped.

    Args:
      log_magnitudes: float32 tensor [..., T, F].
      moments: of the training split.

    Returns:
      float32 tensor of the same shape.
    """
    import tensorflow as tf

    scaled = (log_magnitudes - moments.mean) / (CLIP_SIGMAS * moments.std)
    return tf.clip_by_value(scaled, -1.0, 1.0)


def silence(moments: Moments, config: Config) -> np.ndarray:
    """A frame of a window at the floor, the least that data hold.

    Args:
      moments: of the training split.
      config: says the floor.

    Returns:
      float32 [F], in [-1, 1].
    """
    scaled = (config.log_floor - moments.mean) / (CLIP_SIGMAS * moments.std)
    return np.clip(np.float32(scaled), -1.0, 1.0)


def inverse_standardise(window: Any, moments: Moments) -> Any:
    """Log-magnitudes from a window; the inverse of `standardise`.

    Args:
      window: float32 tensor [..., T, F] in [-1, 1].
      moments: of the training split.

    Returns:
      float32 tensor of the same shape.
    """
    return window * (CLIP_SIGMAS * moments.std) + moments.mean
