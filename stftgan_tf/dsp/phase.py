"""Phase for magnitudes that have none, in the TensorFlow graph."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from stftgan_tf.config import Config, StftConfig
from stftgan_tf.dsp import features

# Over-relaxation and momentum of the iterations, in the terms of Nenov et al.
# 2023, "Faster than Fast: Accelerating the Griffin-Lim Algorithm", equation 8
# (gamma; alpha = beta, which needs one sequence only). Of 18 triples tried on
# LibriSpeech the one that is ahead at 12 iterations and still gains at 40.
RELAXATION = 1.25
MOMENTUM = 1.0

# Below this, relative to a row's largest magnitude, a bin is silent.
_SILENT = 1e-10

# Floats of the longest vector instructions.
_VECTOR = 16

# How much more the stronger ways count where phase is carried on.
_SHARPNESS = 4.0

# A row of audio whose peak is above this (-1 dB of full scale) is turned down.
PEAK_LIMIT = 10 ** (-1 / 20)


def audio_of(
    windows: Any, moments: features.Moments, config: Config
) -> tf.Tensor:
    """Audio of standardised windows, as `audible` makes it.

    Args:
      windows: float32 [B, T, F] in [-1, 1].
      moments: of the training split.
      config: STFT and phase step.

    Returns:
      float32 [B, N].
    """
    logs = features.inverse_standardise(windows, moments)
    return audible(features.inverse_log_magnitude(logs), config)


def audible(
    magnitudes: Any, config: Config, start: tf.Tensor | None = None
) -> tf.Tensor:
    """Audio of magnitudes, by the config's phase step.

    A row whose peak is above `PEAK_LIMIT` is turned down to it as a whole, so
    that nothing ever clips.

    Args:
      magnitudes: float32 [B, T, F + 1].
      config: STFT and phase step.
      start: unit complex64 [B, T, F + 1], where a phase is known.

    Returns:
      float32 [B, N].
    """
    if start is None and config.model.phase == "griffin_lim":
        magnitudes = tf.convert_to_tensor(magnitudes)
        start = _unit(tf.zeros_like(magnitudes))
    iterations = config.model.griffin_lim_iterations
    audio = griffin_lim(magnitudes, config.stft, iterations, start)
    peak = tf.reduce_max(tf.abs(audio), axis=-1, keepdims=True)
    return audio / tf.maximum(peak / PEAK_LIMIT, 1.0)


def griffin_lim(
    magnitudes: Any,
    config: StftConfig,
    iterations: int,
    start: tf.Tensor | None = None,
) -> tf.Tensor:
    """Audio whose STFT magnitudes come close to the given ones.

    Griffin-Lim with over-relaxation and momentum (Nenov et al. 2023). Rows are
    independent and nothing is drawn at random.

    Args:
      magnitudes: float32 [B, T, F + 1], scaled as `features.stft` does.
      config: frame length and step.
      iterations: how often the phase is made consistent.
      start: unit complex64 [B, T, F + 1] to begin with; None is `integrated`.

    Returns:
      float32 [B, N].
    """
    magnitudes = tf.convert_to_tensor(magnitudes)
    target = tf.complex(magnitudes, tf.zeros_like(magnitudes))
    if start is None:
        start = integrated(magnitudes, config)
    estimate = target * start

    def consistent(estimate):
        return _stft(features.inverse_stft(estimate, config), config)

    def step(estimate, pushed, previous):
        latest = (1 - RELAXATION) * pushed + RELAXATION * consistent(estimate)
        pushed = latest + MOMENTUM * (latest - previous)
        # The floor keeps the phase of an all-zero bin finite.
        size = tf.maximum(tf.abs(pushed), 1e-12)
        unit = pushed / tf.complex(size, tf.zeros_like(size))
        return target * unit, pushed, latest

    first = consistent(estimate)
    estimate, _, _ = tf.while_loop(
        lambda *_: True,
        step,
        (estimate, first, first),
        maximum_iterations=iterations,
    )
    return features.inverse_stft(estimate, config)


def integrated(magnitudes: Any, config: StftConfig) -> tf.Tensor:
    """Phase from the gradients that magnitudes imply, frame by frame.

    In place of the heap of Prusa et al. 2017 (`heap.integrated`), which no
    graph can hold, each bin takes its phase from itself and its two
    neighbours in the frame before: in time by the derivative there, then along
    the frame by the derivative in frequency; the three are added as vectors
    whose lengths favour the strongest way.

    Args:
      magnitudes: float32 tensor [B, T, F + 1].
      config: frame length and step.

    Returns:
      Unit complex64 [B, T, F + 1].
    """
    # Nyquist is silent and takes any phase. Whole vectors of bins: what is left
    # over would be computed in another way, and be another bit in a batch.
    used = config.frame_length // 2
    left = -used % _VECTOR
    magnitudes = tf.pad(
        magnitudes[..., :used], [[0, 0], [0, 0], [0, left]], "SYMMETRIC"
    )
    # A scan goes along the first axis.
    logs, in_time, in_frequency = (
        tf.transpose(x, [1, 0, 2]) for x in gradients(magnitudes, config)
    )
    between = (in_frequency[..., 1:] + in_frequency[..., :-1]) / 2
    along = tf.cumsum(tf.pad(between, [[0, 0], [0, 0], [1, 0]]), axis=-1)
    # What is carried is turned back by `along`, which all bins of a frame know.
    turns = (in_time[1:] + in_time[:-1]) / 2 + along[:-1] - along[1:]
    turns = tf.stack([tf.cos(turns), tf.sin(turns)], axis=1)
    weights = _neighbours(
        _SHARPNESS * (logs[1:] + logs[:-1]), logs.dtype.min
    )  # (T - 1, 3, B, F)
    weights = tf.exp(weights - tf.reduce_max(weights, axis=1, keepdims=True))

    def carry(unit, step):
        (cosine, sine), weight = tf.unstack(step[0]), step[1]
        real, imaginary = tf.unstack(unit)
        turned = [
            cosine * real - sine * imaginary,
            cosine * imaginary + sine * real,
        ]
        total = tf.reduce_sum(weight * _neighbours(turned), axis=1)
        size = tf.reduce_sum(total**2, axis=0)
        return total * tf.math.rsqrt(tf.maximum(size, 1e-30))

    carried = tf.stack([tf.ones_like(along[0]), tf.zeros_like(along[0])])[None]
    if turns.shape[0] != 0:
        rest = tf.scan(carry, (turns, weights), initializer=carried[0])
        carried = tf.concat([carried, rest], axis=0)
    real, imaginary = tf.unstack(carried, axis=1)
    units = tf.transpose(tf.complex(real, imaginary) * _unit(along), [1, 0, 2])
    # Frames are referred to their start, gradients to their middle.
    units *= np.complex64(1 - 2 * (np.arange(used + left) % 2))
    units = units[..., :used]
    return tf.concat([units, tf.ones_like(units[..., :1])], axis=-1)


def gradients(
    magnitudes: Any, config: StftConfig
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """What a phase turns by, as magnitudes imply.

    As if the window were the Gaussian closest to it (Prusa et al. 2017,
    equations 11 and 12), for frames that are referred to their middle.

    Args:
      magnitudes: float32 tensor [B, T, F].
      config: frame length, step and window.

    Returns:
      Log-magnitudes, radians from frame to frame, radians from bin to bin, all
      [B, T, F].
    """
    largest = tf.reduce_max(magnitudes, axis=[-2, -1], keepdims=True)
    floor = tf.maximum(_SILENT * largest, 1e-30)
    logs = tf.math.log(tf.maximum(magnitudes, floor))
    length, step = config.frame_length, config.frame_step
    ratio = config.spread * length / step
    # What a steady sine in the middle of its bin turns by; whole turns are
    # nothing.
    turns = np.arange(logs.shape[-1]) * step / length % 1.0
    steady = np.float32(2 * math.pi * turns)
    in_time = _slope(logs, axis=2) / ratio + steady
    return logs, in_time, -ratio * _slope(logs, axis=1)


def _neighbours(x: Any, beyond: float = 0.0) -> tf.Tensor:
    """[A, B, F] with the bins below and above each: [A, 3, B, F]."""
    x = tf.pad(x, [[0, 0], [0, 0], [1, 1]], constant_values=beyond)
    return tf.stack([x[..., :-2], x[..., 1:-1], x[..., 2:]], axis=1)


def _unit(phases: tf.Tensor) -> tf.Tensor:
    """Complex numbers of length 1."""
    return tf.complex(tf.cos(phases), tf.sin(phases))


def _slope(x: tf.Tensor, axis: int) -> tf.Tensor:
    """Central differences along an axis of [B, T, F]; 0 at its ends."""
    if x.shape[axis] == 1:
        return tf.zeros_like(x)
    pad = [[0, 0], [0, 0], [0, 0]]
    pad[axis] = [1, 1]
    before = [slice(None)] * 3
    after = [slice(None)] * 3
    before[axis], after[axis] = slice(None, -2), slice(2, None)
    return tf.pad((x[tuple(after)] - x[tuple(before)]) / 2, pad)


def _stft(samples: tf.Tensor, config: StftConfig) -> tf.Tensor:
    """`features.stft` in the graph: float32 [B, N] -> complex64 [B, T, F+1]."""
    length, step = config.frame_length, config.frame_step
    stfts = tf.signal.stft(
        samples, length, step, length, features.window_of(config)
    )
    return stfts * features.amplitude_scale(config)
