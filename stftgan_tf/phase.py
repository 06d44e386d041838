"""Phase for magnitudes that have none, in the TensorFlow graph."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from stftgan_tf import features
from stftgan_tf.config import Config, StftConfig

# Momentum of fast Griffin-Lim (Perraudin, Balazs & Sondergaard 2013, "A fast
# Griffin-Lim algorithm", section 3: the best of the values they tried).
MOMENTUM = 0.99

# A row of audio whose peak is above this (-1 dB of full scale) is turned down.
PEAK_LIMIT = 10 ** (-1 / 20)


def audio_of(
    windows: Any, moments: features.Moments, config: Config
) -> tf.Tensor:
    """Audio of standardised windows.

    A row whose peak is above `PEAK_LIMIT` is turned down to it as a whole, so
    that nothing ever clips.

    Args:
      windows: float32 [B, T, F] in [-1, 1].
      moments: of the training split.
      config: STFT and number of phase iterations.

    Returns:
      float32 [B, N].
    """
    logs = features.inverse_standardise(windows, moments)
    magnitudes = features.inverse_log_magnitude(logs)
    iterations = config.model.griffin_lim_iterations
    audio = griffin_lim(magnitudes, config.stft, iterations)
    peak = tf.reduce_max(tf.abs(audio), axis=-1, keepdims=True)
    return audio / tf.maximum(peak / PEAK_LIMIT, 1.0)


def griffin_lim(magnitudes: Any, config: StftConfig, iterations: int) -> Any:
    """Audio whose STFT magnitudes come close to the given ones.

    Fast Griffin-Lim (Perraudin et al. 2013). Rows are independent and nothing
    is drawn at random: the first phase is that of a stationary sinusoid in
    each bin.

    Args:
      magnitudes: float32 [B, T, F + 1], scaled as `features.stft` does.
      config: frame length and step.
      iterations: how often the phase is made consistent.

    Returns:
      float32 [B, N].
    """
    magnitudes = tf.convert_to_tensor(magnitudes)
    target = tf.complex(magnitudes, tf.zeros_like(magnitudes))
    start = target * _stationary_phase(magnitudes, config)

    def step(estimate, previous):
        samples = features.inverse_stft(estimate, config)
        consistent = _stft(samples, config)
        pushed = consistent + MOMENTUM * (consistent - previous)
        # The floor keeps the phase of an all-zero bin finite.
        size = tf.maximum(tf.abs(pushed), 1e-12)
        unit = pushed / tf.complex(size, tf.zeros_like(size))
        return target * unit, consistent

    # Without momentum at first: there is no previous estimate yet.
    previous = _stft(features.inverse_stft(start, config), config)
    estimate, _ = tf.while_loop(
        lambda *_: True,
        step,
        (start, previous),
        maximum_iterations=iterations,
    )
    return features.inverse_stft(estimate, config)


def _stft(samples: tf.Tensor, config: StftConfig) -> tf.Tensor:
    """`features.stft` in the graph: float32 [B, N] -> complex64 [B, T, F+1]."""
    length, step = config.frame_length, config.frame_step
    stfts = tf.signal.stft(samples, length, step, fft_length=length)
    return stfts * features.amplitude_scale(config)


def _stationary_phase(magnitudes: tf.Tensor, config: StftConfig) -> tf.Tensor:
    """Unit complex [T, F + 1]: bin k advances by 2 pi k hop / length a frame.

    A seed in which neighbouring frames do not cancel, unlike zero phase.
    """
    frames = magnitudes.shape[-2]
    bins = np.arange(config.frame_length // 2 + 1)
    hop = config.frame_step / config.frame_length
    turns = np.outer(np.arange(frames), bins) * hop % 1.0
    return tf.constant(np.exp(2j * math.pi * turns).astype(np.complex64))
