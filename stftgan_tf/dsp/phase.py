"""Phase for magnitudes that have none, in the TensorFlow graph."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from stftgan_tf.config import Config, StftConfig
from stftgan_tf.dsp import stft
from stftgan_tf.dsp.graph_stft import GraphStft, Parts
from stftgan_tf.dsp.moments import Moments

# Over-relaxation and momentum of the Griffin-Lim iterations, in the notation
# of Nenov et al. 2023, "Faster than Fast: Accelerating the Griffin-Lim
# Algorithm", equation 8 (gamma; alpha = beta, which needs only one sequence).
# Of 18 triples tried on LibriSpeech this one is ahead after 12 iterations and
# still improves after 40.
RELAXATION = 1.25
MOMENTUM = 1.0

# Relative to the largest magnitude of a row, bins below this are silent. Lower,
# rounding errors of bins next to silence would determine the phase.
_SILENT = 1e-6

# Floats in the longest vector instructions of a CPU.
_VECTOR_FLOATS = 16

# Exponent that favours the strongest of the three paths in `integrated`.
_SHARPNESS = 4.0

# Weight of the path from a silent bin to itself. Above 2, its neighbours cannot
# cancel it if they are silent too; rounding errors would then set the phase.
_STEADY = 3.0

# Audio whose peak is above this (-1 dB of full scale) is attenuated.
PEAK_LIMIT = 10 ** (-1 / 20)


def windows_to_audio(
    windows: Any,
    moments: Moments,
    config: Config,
    transform: GraphStft | None = None,
) -> tf.Tensor:
    """Converts standardised windows to audio.

    Args:
      windows: float32 [B, T, F] in [-1, 1].
      moments: moments of the training split.
      config: STFT and phase reconstruction.
      transform: as for `griffin_lim`.

    Returns:
      float32 [B, N], see `magnitudes_to_audio`.
    """
    logs = moments.inverse_standardise(windows)
    magnitudes = stft.inverse_log_magnitude(logs, config)
    return magnitudes_to_audio(magnitudes, config, transform=transform)


def magnitudes_to_audio(
    magnitudes: Any,
    config: Config,
    start: Parts | None = None,
    transform: GraphStft | None = None,
) -> tf.Tensor:
    """Converts magnitudes to audio with the config's phase reconstruction.

    A row whose peak is above `PEAK_LIMIT` is attenuated to it as a whole, so
    nothing ever clips.

    Args:
      magnitudes: float32 [B, T, F + 1].
      config: STFT and phase reconstruction.
      start: as for `griffin_lim`; by default the one that `model.phase` names.
      transform: as for `griffin_lim`.

    Returns:
      float32 [B, N].
    """
    magnitudes = tf.convert_to_tensor(magnitudes)
    if start is None and config.model.phase == "griffin_lim":
        start = tf.ones_like(magnitudes), tf.zeros_like(magnitudes)
    iterations = config.model.griffin_lim_iterations
    audio = griffin_lim(magnitudes, config.stft, iterations, start, transform)
    peak = tf.reduce_max(tf.abs(audio), axis=-1, keepdims=True)
    return audio / tf.maximum(peak / PEAK_LIMIT, 1.0)


def griffin_lim(
    magnitudes: Any,
    config: StftConfig,
    iterations: int,
    start: Parts | None = None,
    transform: GraphStft | None = None,
) -> tf.Tensor:
    """Finds audio whose STFT magnitudes are close to the given ones.

    Griffin-Lim with over-relaxation and momentum (Nenov et al. 2023). They are
    applied to samples instead of STFTs, which is the same, because the STFT is
    linear, and four times less to compute. Rows are independent and the
    algorithm is deterministic.

    Args:
      magnitudes: float32 [B, T, F + 1], scaled as by `stft.forward`.
      config: frame length and step.
      iterations: number of projections onto consistent STFTs.
      start: cosine and sine of the phase to start from, float32 [B, T, F + 1];
        by default that of `integrated`.
      transform: the STFT, by default with FFTs.

    Returns:
      float32 [B, N].
    """
    magnitudes = tf.convert_to_tensor(magnitudes)
    transform = transform or GraphStft(config)
    if start is None:
        start = integrated(magnitudes, config)
    cosine, sine = start
    first = transform.inverse(magnitudes * cosine, magnitudes * sine)

    def step(relaxed, previous, _):
        real, imaginary = transform.forward(relaxed)
        # The floor keeps the phase of an all-zero bin finite. Unlike `rsqrt`,
        # root and quotient are the same on all kinds of instructions.
        size = tf.sqrt(real * real + imaginary * imaginary)
        gain = magnitudes / tf.maximum(size, 1e-12)
        samples = transform.inverse(real * gain, imaginary * gain)
        current = (1 - RELAXATION) * relaxed + RELAXATION * samples
        return current + MOMENTUM * (current - previous), current, samples

    *_, samples = tf.while_loop(
        lambda *_: True,
        step,
        (first, first, first),
        maximum_iterations=iterations,
    )
    return samples


def integrated(magnitudes: Any, config: StftConfig) -> Parts:
    """Integrates the phase gradients that magnitudes imply, frame by frame.

    Phase gradient heap integration (`pghi.integrated`) needs a priority queue,
    which a graph does not have. Here each bin adds up three predictions, from
    itself and its two neighbours in the previous frame: first along time by
    the time derivative, then along the current frame by the frequency
    derivative. They are added as vectors whose lengths favour the strongest.

    Args:
      magnitudes: float32 tensor [B, T, F + 1].
      config: frame length and step.

    Returns:
      Cosine and sine of the phase, float32 [B, T, F + 1].
    """
    # Nyquist is silent, so any phase is right. Bins are padded to whole vector
    # instructions: a remainder would be computed by different instructions
    # when it is part of a batch, and differ in the last bit.
    bins = config.frame_length // 2
    padding = -bins % _VECTOR_FLOATS
    magnitudes = tf.pad(
        magnitudes[..., :bins], [[0, 0], [0, 0], [0, padding]], "SYMMETRIC"
    )
    # tf.scan iterates over the first axis.
    logs, in_time, in_frequency = (
        tf.transpose(x, [1, 0, 2]) for x in gradients(magnitudes, config)
    )  # (T, B, F)
    steps = (in_frequency[..., 1:] + in_frequency[..., :-1]) / 2
    along = tf.cumsum(tf.pad(steps, [[0, 0], [0, 0], [1, 0]]), axis=-1)
    # The scan works on phases relative to `along`, which is known beforehand.
    turns = (in_time[1:] + in_time[:-1]) / 2 + along[:-1] - along[1:]
    weights = _weights(logs[1:] + logs[:-1], logs)
    units = _propagated(tf.zeros_like(along[0]), turns, weights)
    units = _rotated(units, (tf.cos(along), tf.sin(along)), axis=1)
    # The STFT refers phases to the start of a frame, gradients to its middle.
    units *= np.float32(1 - 2 * (np.arange(bins + padding) % 2))
    units = tf.transpose(units, [1, 2, 0, 3])[..., :bins]  # (2, B, T, F)
    cosine, sine = tf.unstack(units)
    return (
        tf.concat([cosine, tf.ones_like(cosine[..., :1])], axis=-1),
        tf.concat([sine, tf.zeros_like(sine[..., :1])], axis=-1),
    )


def _weights(strengths: tf.Tensor, logs: tf.Tensor) -> tf.Tensor:
    """Lengths of the three predictions of a bin.

    Args:
      strengths: float32 [T - 1, B, F], of a bin in two consecutive frames.
      logs: float32 [T, B, F], log-magnitudes.

    Returns:
      float32 [T - 1, 3, B, F], of the paths by way of the bin below, the bin
      itself and the bin above.
    """
    silence = 2 * tf.reduce_min(logs, axis=[0, 2], keepdims=True)
    silent = tf.cast(strengths <= silence, logs.dtype)
    itself = 1 + (_STEADY - 1) * silent
    factors = tf.stack([tf.ones_like(itself), itself, tf.ones_like(itself)], 1)
    paths = _neighbours(_SHARPNESS * strengths, logs.dtype.min)
    return factors * tf.exp(paths - tf.reduce_max(paths, axis=1, keepdims=True))


def _propagated(
    start: tf.Tensor, turns: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
    """Carries unit vectors from frame to frame.

    Args:
      start: float32 [B, F], radians, the phases of the first frame.
      turns: float32 [T - 1, B, F], radians from a frame to the next one.
      weights: float32 [T - 1, 3, B, F], see `_weights`.

    Returns:
      Their cosines and sines, float32 [T, 2, B, F].
    """
    rotations = tf.stack([tf.cos(turns), tf.sin(turns)], axis=1)

    def carry(unit, step):
        rotation, weight = step
        rotated = _rotated(unit, tf.unstack(rotation), axis=0)
        total = tf.reduce_sum(weight * _neighbours(rotated), axis=1)
        size = tf.reduce_sum(total**2, axis=0)
        return total * tf.math.rsqrt(tf.maximum(size, 1e-30))

    first = tf.stack([tf.cos(start), tf.sin(start)])  # (2, B, F)
    units = first[None]
    if turns.shape[0] == 0:
        return units
    rest = tf.scan(carry, (rotations, weights), initializer=first)
    return tf.concat([units, rest], axis=0)


def _rotated(units: tf.Tensor, by: Parts, axis: int) -> tf.Tensor:
    """Unit vectors turned by angles: complex products.

    Args:
      units: float32 [..., 2, ...], cosines and sines along `axis`.
      by: cosines and sines of the angles, without that axis.
      axis: of cosine and sine.
    """
    real, imaginary = tf.unstack(units, axis=axis)
    cosine, sine = by
    rotated = [
        cosine * real - sine * imaginary,
        cosine * imaginary + sine * real,
    ]
    return tf.stack(rotated, axis=axis)


def gradients(
    magnitudes: Any, config: StftConfig
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Computes the phase gradients that magnitudes imply.

    They are exact for a Gaussian window (Prusa et al. 2017, equations 11 and
    12); the Gaussian closest to the Hann window stands in for it. Phases are
    referred to the middle of a frame.

    Args:
      magnitudes: float32 tensor [B, T, F].
      config: frame length and step.

    Returns:
      Log-magnitudes, radians from frame to frame and radians from bin to bin,
      each [B, T, F].
    """
    largest = tf.reduce_max(magnitudes, axis=[-2, -1], keepdims=True)
    floor = tf.maximum(_SILENT * largest, 1e-30)
    logs = tf.math.log(tf.maximum(magnitudes, floor))
    length, step = config.frame_length, config.frame_step
    ratio = stft.HANN_SPREAD * length / step
    # How far a steady sine at the centre of its bin turns; whole turns cancel.
    turns = np.arange(logs.shape[-1]) * step / length % 1.0
    steady = np.float32(2 * math.pi * turns)
    in_time = _slope(logs, axis=2) / ratio + steady
    return logs, in_time, -ratio * _slope(logs, axis=1)


def _neighbours(x: Any, outside: float = 0.0) -> tf.Tensor:
    """Stacks each bin with the ones below and above: [A, B, F] -> [A, 3, B, F].

    `outside` is the value of bins that do not exist.
    """
    x = tf.pad(x, [[0, 0], [0, 0], [1, 1]], constant_values=outside)
    return tf.stack([x[..., :-2], x[..., 1:-1], x[..., 2:]], axis=1)


def _slope(x: tf.Tensor, axis: int) -> tf.Tensor:
    """Central differences along an axis of [B, T, F], 0 at both ends."""
    if x.shape[axis] == 1:
        return tf.zeros_like(x)
    pad = [[0, 0], [0, 0], [0, 0]]
    pad[axis] = [1, 1]
    before = [slice(None)] * 3
    after = [slice(None)] * 3
    before[axis], after[axis] = slice(None, -2), slice(2, None)
    return tf.pad((x[tuple(after)] - x[tuple(before)]) / 2, pad)
