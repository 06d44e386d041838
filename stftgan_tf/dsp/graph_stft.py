"""The STFT in TensorFlow graphs, by FFT or by matrix products.

Real and imaginary parts are separate tensors: TensorFlow computes faster with
them than with complex numbers, and LiteRT has no inverse FFT. Shapes are known
when a graph is built, except for the number of rows B.
"""

import numpy as np
import tensorflow as tf

from stftgan_tf.config import StftConfig
from stftgan_tf.dsp import stft

# Real and imaginary part, float32 [B, T, F + 1] each.
Parts = tuple[tf.Tensor, tf.Tensor]


class GraphStft:
    """`stft.forward` and its inverse."""

    def __init__(self, config: StftConfig):
        """`config`: frame length and step."""
        self._length, self._step = config.frame_length, config.frame_step
        # Blocks of one step in a frame, of which the last may be incomplete.
        self._blocks = -(-self._length // self._step)
        window = stft.analysis_window(self._length)
        scale = np.float32(stft.amplitude_scale(config))
        self._analysis = window * scale
        self._synthesis = _dual_window(window, self._step) / scale

    def forward(self, samples: tf.Tensor) -> Parts:
        """Computes `stft.forward` of samples float32 [B, N]."""
        count = 1 + (samples.shape[1] - self._length) // self._step
        num_blocks = count + self._blocks - 1
        missing = num_blocks * self._step - samples.shape[1]
        if missing > 0:
            samples = tf.pad(samples, [[0, 0], [0, missing]])
        samples = samples[:, : num_blocks * self._step]
        blocks = tf.reshape(samples, [-1, num_blocks, self._step])
        indices = np.arange(count)[:, None] + np.arange(self._blocks)
        # Shape: [B, T, blocks, step].
        frames = tf.gather(blocks, np.int32(indices), axis=1)
        frames = tf.reshape(frames, [-1, count, self._blocks * self._step])
        return self._analyse(frames[..., : self._length])

    def inverse(self, real: tf.Tensor, imaginary: tf.Tensor) -> tf.Tensor:
        """Inverts `forward`: float32 [B, (T - 1) * step + frame_length].

        Overlap-add with the dual window (Griffin & Lim 1984, section II)
        reconstructs the samples of an unmodified STFT exactly. Within one
        frame of either end, where overlapping frames are missing, the signal
        fades.
        """
        frames = self._synthesise(real, imaginary)  # (B, T, frame_length)
        missing = self._blocks * self._step - self._length
        if missing:
            frames = tf.pad(frames, [[0, 0], [0, 0], [0, missing]])
        last = self._blocks - 1
        parts = tf.split(frames, self._blocks, axis=2)
        blocks = tf.add_n(
            [
                tf.pad(part, [[0, 0], [i, last - i], [0, 0]])
                for i, part in enumerate(parts)
            ]
        )  # (B, T + last, step)
        num_samples = blocks.shape[1] * self._step
        samples = tf.reshape(blocks, [-1, num_samples])
        return samples[:, : num_samples - missing]

    def _analyse(self, frames: tf.Tensor) -> Parts:
        """The STFT of frames [B, T, frame_length]."""
        stfts = tf.signal.rfft(frames * self._analysis)
        return tf.math.real(stfts), tf.math.imag(stfts)

    def _synthesise(self, real: tf.Tensor, imaginary: tf.Tensor) -> tf.Tensor:
        """Frames [B, T, frame_length] to overlap and add."""
        frames = tf.raw_ops.IRFFT(
            input=tf.complex(real, imaginary), fft_length=[self._length]
        )
        return frames * self._synthesis


class MatrixStft(GraphStft):
    """The same as products with matrices, which every runtime has."""

    def __init__(self, config: StftConfig):
        """`config`: frame length and step."""
        super().__init__(config)
        length = self._length
        eye = np.eye(length)
        forward = np.fft.rfft(eye * self._analysis)  # (frame_length, F + 1)
        parts = np.concatenate([forward.real, forward.imag], axis=1)
        self._forward = np.float32(parts)
        bins = np.eye(length // 2 + 1)
        inverse = np.concatenate([np.fft.irfft(bins), np.fft.irfft(1j * bins)])
        self._inverse = np.float32(inverse * self._synthesis)

    def _analyse(self, frames: tf.Tensor) -> Parts:
        real, imaginary = tf.split(frames @ self._forward, 2, axis=2)
        return real, imaginary

    def _synthesise(self, real: tf.Tensor, imaginary: tf.Tensor) -> tf.Tensor:
        return tf.concat([real, imaginary], axis=2) @ self._inverse


def _dual_window(window: np.ndarray, step: int) -> np.ndarray:
    """The window with which overlap-add inverts the STFT, float32 [L]."""
    power = np.square(np.float64(window))
    sums = [power[i % step :: step].sum() for i in range(len(window))]
    return np.float32(window / np.maximum(sums, 1e-30))
