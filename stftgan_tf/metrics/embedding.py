"""The two embeddings that compare windows, both computed from log-mel bands.

`Embedding` is a PCA. Distances between raw windows mostly measure fine
structure and the noise floor; distances between log-mel windows measure what
is audible. Each direction is scaled to variance 1, because otherwise level
and position in time would dominate. `cepstra` removes level and position: it
describes what is said, not how loud or when.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from stftgan_tf.config import Config
from stftgan_tf.data.batching import slices
from stftgan_tf.dsp.moments import Moments

_BANDS = 40
_COMPONENTS = 64
# Training windows required for each component.
_WINDOWS_PER_COMPONENT = 4
_LOWEST_HZ = 60.0

# Cepstral coefficients, without the first one, which is the level (Davis &
# Mermelstein 1980), and the audible range below the peak of a window.
_COEFFICIENTS = slice(1, 14)
_AUDIBLE_DB = 40.0

# Number of windows embedded at a time.
_BATCH = 512


@dataclasses.dataclass(frozen=True)
class LogMel:
    """Maps windows to natural logarithms of mel bands.

    Attributes:
      moments: moments of the training data.
      mel: float32 [F, bands], weights from bins to mel bands.
      floor: magnitude that is added to each band before the logarithm.
    """

    moments: Moments
    mel: np.ndarray
    floor: np.ndarray

    def __call__(self, windows: tf.Tensor) -> tf.Tensor:
        """Log-mel windows [B, T, bands] of windows float32 [B, T, F]."""
        magnitudes = tf.exp(self.log_magnitude(windows))
        return tf.math.log(tf.matmul(magnitudes, self.mel) + self.floor)

    def log_magnitude(self, windows: Any) -> Any:
        """Log-magnitudes [B, T, F] of windows, NumPy or TensorFlow."""
        return self.moments.inverse_standardise(windows)


@dataclasses.dataclass(frozen=True)
class Embedding:
    """PCA of log-mel windows, fitted to training windows.

    Attributes:
      log_mel: maps windows to log-mel windows.
      mean: float32 [T * bands], mean of the log-mel training windows.
      components: float32 [T * bands, D], scaled so that training windows have
        variance 1 in each direction. D is at most 64 and at most a quarter of
        the number of windows: more directions would overfit the training
        windows, so that other real windows would be far from them.
    """

    log_mel: LogMel
    mean: np.ndarray
    components: np.ndarray

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        """Vectors float32 [B, D] of windows float32 [B, T, F]."""
        return in_batches(
            lambda batch: (
                (_flat(self.log_mel(batch)) - self.mean) @ self.components
            ),
            windows,
        )


def log_mel_of(moments: Moments, config: Config) -> LogMel:
    """The map from windows of a data set to log-mel bands."""
    return LogMel(
        moments=moments,
        mel=mel_matrix(config),
        floor=np.float32(np.exp(config.log_floor)),
    )


def fit(windows: np.ndarray, moments: Moments, config: Config) -> Embedding:
    """Fits the embedding to training windows, float32 [B, T, F]."""
    log_mel = log_mel_of(moments, config)
    mels = in_batches(lambda batch: _flat(log_mel(batch)), windows)
    # Repeated windows add no information.
    distinct = len({row.tobytes() for row in mels.round(3)})
    count = min(
        _COMPONENTS, mels.shape[1], max(1, distinct // _WINDOWS_PER_COMPONENT)
    )
    # With several threads the last digits would depend on their number.
    with threadpool_limits(1):
        pca = PCA(count, random_state=0).fit(mels)
    # A direction without variation (all windows are equal) is not scaled.
    spread = np.sqrt(pca.explained_variance_)
    spread = np.where(spread > 1e-3, spread, 1.0)
    return Embedding(
        log_mel=log_mel,
        mean=np.float32(pca.mean_),
        components=np.float32(pca.components_.T / spread),
    )


def cepstra(log_mel: tf.Tensor) -> tf.Tensor:
    """MFCCs that do not depend on level or position in time.

    Bands more than 40 dB below the peak of their window count as silent. The
    first coefficient, the level, is left out. The coefficients are shifted in
    time so that the centre of the sound is the centre of the window; silence
    is 0. Uses TensorFlow operations only.

    Args:
      log_mel: natural logarithms float32 [B, T, bands].

    Returns:
      float32 [B, T * 13].
    """
    frames = log_mel.shape[1]
    audible_range = np.float32(_AUDIBLE_DB * np.log(10) / 20)
    peak = tf.reduce_max(log_mel, axis=[1, 2], keepdims=True)
    audible = tf.nn.relu(log_mel - peak + audible_range)
    loudness = tf.reduce_sum(audible, axis=2)
    times = tf.range(frames, dtype=tf.float32)
    centre = tf.linalg.matvec(loudness, times) / tf.reduce_sum(loudness, 1)
    # Index of the first frame to keep, after padding with silence.
    start = tf.cast(tf.round(centre), tf.int32) - frames // 2 + frames
    mfccs = tf.signal.mfccs_from_log_mel_spectrograms(audible)
    padded = tf.pad(
        mfccs[..., _COEFFICIENTS], [[0, 0], [frames, frames], [0, 0]]
    )
    centred = tf.gather(
        padded, start[:, None] + tf.range(frames), axis=1, batch_dims=1
    )
    return _flat(centred)


def in_batches(
    function: Callable[[tf.Tensor], Any],
    rows: np.ndarray,
    size: int = _BATCH,
) -> Any:
    """Applies a function to rows [B, ...], `size` of them at a time.

    Args:
      function: returns a tensor, or a structure of tensors, with one row for
        each row of its input.
      rows: the input.
      size: rows in a batch, which limits the memory in use.

    Returns:
      The concatenated results, NumPy arrays in the same structure.
    """
    batches = [
        function(tf.constant(rows[part])) for part in slices(len(rows), size)
    ]
    return tf.nest.map_structure(
        lambda *parts: np.concatenate([part.numpy() for part in parts]),
        *batches,
    )


def _flat(values: tf.Tensor) -> tf.Tensor:
    return tf.reshape(values, [-1, values.shape[1] * values.shape[2]])


def mel_matrix(config: Config) -> np.ndarray:
    """Weights float32 [F, bands] from a window's bins to mel bands.

    Triangular filters on O'Shaughnessy's mel scale, as in HTK.
    """
    bins, rate_hz = config.stft.bins, config.audio.sample_rate_hz
    # The matrix includes the Nyquist bin, which windows leave out.
    matrix = tf.signal.linear_to_mel_weight_matrix(
        min(_BANDS, bins), bins + 1, rate_hz, _LOWEST_HZ, rate_hz / 2
    )
    return matrix.numpy()[:-1]
