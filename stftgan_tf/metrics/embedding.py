"""The fixed spaces in which windows are compared, both of log-mel windows.

`Embedding` is their PCA: distances between windows themselves are ruled by
fine structure and by the floor; here they are ruled by what is heard. All
directions are scaled to the same spread, else level and place in time alone
would rule. `cepstra` leaves out both: what is said, however loud and when.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from stftgan_tf.config import Config
from stftgan_tf.dsp import features

_BANDS = 40
_COMPONENTS = 64
# Training windows that there must be for each component.
_EACH = 4
_LOWEST_HZ = 60.0

# Cepstral coefficients that are kept, without the level, as is usual (Davis &
# Mermelstein 1980), and how far below its peak a window is heard.
_COEFFICIENTS = slice(1, 14)
_HEARD_DB = 40.0

# Windows embedded at a time.
_BATCH = 512


@dataclasses.dataclass(frozen=True)
class LogMel:
    """Windows as natural logs of mel bands.

    Attributes:
      moments: of the windows.
      mel: float32 [F, bands].
      floor: magnitude that is added to each band.
    """

    moments: features.Moments
    mel: np.ndarray
    floor: np.ndarray

    def __call__(self, windows: tf.Tensor) -> tf.Tensor:
        """In the graph: windows float32 [B, T, F] to [B, T, bands]."""
        magnitudes = tf.exp(self.log_magnitude(windows))
        return tf.math.log(tf.matmul(magnitudes, self.mel) + self.floor)

    def log_magnitude(self, windows: Any) -> Any:
        """Natural logs [B, T, F] of windows; NumPy's arrays stay such."""
        # Frequencies, where they are learnt, come after.
        magnitudes = windows[..., : len(self.mel)]
        return features.inverse_standardise(magnitudes, self.moments)


@dataclasses.dataclass(frozen=True)
class Embedding:
    """PCA of log-mel windows, learnt from training windows.

    Attributes:
      log_mel: what it is the PCA of.
      mean: float32 [T * bands], of the log-mel windows.
      components: float32 [T * bands, D], such that training windows have
        variance 1 in each direction. D is at most 64, and a quarter of the
        windows: of fewer, other real ones would lie elsewhere.
    """

    log_mel: LogMel
    mean: np.ndarray
    components: np.ndarray

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        """Vectors float32 [B, D] of windows float32 [B, T, F]."""
        return in_parts(
            lambda part: (
                (_flat(self.log_mel(part)) - self.mean) @ self.components
            ),
            windows,
        )


def fit(
    windows: np.ndarray, moments: features.Moments, config: Config
) -> Embedding:
    """Learns the space from training windows, float32 [B, T, F]."""
    log_mel = LogMel(
        moments=moments,
        mel=mel_matrix(config),
        floor=np.float32(np.exp(config.log_floor)),
    )
    mels = in_parts(lambda part: _flat(log_mel(part)), windows)
    # Windows that come twice tell nothing more.
    kinds = len({row.tobytes() for row in mels.round(3)})
    count = min(_COMPONENTS, mels.shape[1], max(1, kinds // _EACH))
    # (How sums are split among threads would show in the last digits.)
    with threadpool_limits(1):
        pca = PCA(count, random_state=0).fit(mels)
    # A direction without any variation (one kind of window) stays as it is.
    spread = np.sqrt(pca.explained_variance_)
    spread = np.where(spread > 1e-3, spread, 1.0)
    return Embedding(
        log_mel=log_mel,
        mean=np.float32(pca.mean_),
        components=np.float32(pca.components_.T / spread),
    )


def cepstra(log_mel: tf.Tensor) -> tf.Tensor:
    """What is said, however loud and when: MFCCs of windows, in the graph.

    Of what is at most 40 dB below a window's peak, without the coefficient
    that is its level, moved such that the middle of the sound is that of the
    window; silence is 0.

    Args:
      log_mel: natural logs float32 [B, T, bands].

    Returns:
      float32 [B, T * 13].
    """
    frames = log_mel.shape[1]
    range_ = np.float32(_HEARD_DB * np.log(10) / 20)
    peak = tf.reduce_max(log_mel, axis=[1, 2], keepdims=True)
    heard = tf.nn.relu(log_mel - peak + range_)
    loudness = tf.reduce_sum(heard, axis=2)
    times = tf.range(frames, dtype=tf.float32)
    middle = tf.linalg.matvec(loudness, times) / tf.reduce_sum(loudness, 1)
    # From nought, where there is silence before it or behind it.
    start = tf.cast(tf.round(middle), tf.int32) - frames // 2 + frames
    found = tf.signal.mfccs_from_log_mel_spectrograms(heard)
    padded = tf.pad(
        found[..., _COEFFICIENTS], [[0, 0], [frames, frames], [0, 0]]
    )
    moved = tf.gather(
        padded, start[:, None] + tf.range(frames), axis=1, batch_dims=1
    )
    return _flat(moved)


def in_parts(
    embed: Callable[[tf.Tensor], tf.Tensor], windows: np.ndarray
) -> np.ndarray:
    """What `embed` makes of windows [B, ...], some of them at a time."""
    parts = [
        embed(tf.constant(windows[i : i + _BATCH])).numpy()
        for i in range(0, len(windows), _BATCH)
    ]
    return np.concatenate(parts)


def _flat(values: tf.Tensor) -> tf.Tensor:
    return tf.reshape(values, [-1, values.shape[1] * values.shape[2]])


def mel_matrix(config: Config) -> np.ndarray:
    """Weights float32 [F, bands] from a window's bins to mel bands.

    (O'Shaughnessy's scale, triangles, as in HTK.)
    """
    bins, rate_hz = config.stft.bins, config.audio.sample_rate_hz
    # With Nyquist, which a window lacks.
    matrix = tf.signal.linear_to_mel_weight_matrix(
        min(_BANDS, bins), bins + 1, rate_hz, _LOWEST_HZ, rate_hz / 2
    )
    return matrix.numpy()[:-1]
