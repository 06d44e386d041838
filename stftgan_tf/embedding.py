"""The fixed space in which windows are compared: PCA of log-mel windows.

Distances between windows themselves are ruled by fine structure and by the
floor; here they are ruled by what is heard. All directions are scaled to the
same spread, else level and place in time alone would rule.
"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf
from sklearn.decomposition import PCA

from stftgan_tf import features
from stftgan_tf.config import Config

_BANDS = 40
_COMPONENTS = 64
_LOWEST_HZ = 60.0

# Windows embedded at a time.
_BATCH = 512


@dataclasses.dataclass(frozen=True)
class Embedding:
    """PCA of log-mel windows, learnt from training windows.

    Attributes:
      offset, scale: float32 [F], from windows to log-magnitudes.
      mel: float32 [F, bands].
      floor: magnitude that is added to each band.
      mean: float32 [T * bands], of the log-mel windows.
      components: float32 [T * bands, D], D at most 64, such that training
        windows have variance 1 in each direction.
    """

    offset: np.ndarray
    scale: np.ndarray
    mel: np.ndarray
    floor: np.ndarray
    mean: np.ndarray
    components: np.ndarray

    def embed(self, windows: tf.Tensor) -> tf.Tensor:
        """In the graph: windows float32 [B, T, F] to vectors [B, D]."""
        return (self._log_mel(windows) - self.mean) @ self.components

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        """Vectors float32 [B, D] of windows float32 [B, T, F]."""
        parts = [
            self.embed(tf.constant(windows[i : i + _BATCH])).numpy()
            for i in range(0, len(windows), _BATCH)
        ]
        return np.concatenate(parts)

    def log_magnitude(self, windows: Any) -> Any:
        """Natural logs [B, T, F] of windows; NumPy's arrays stay such."""
        # Frequencies, where they are learnt, come after.
        return windows[..., : len(self.offset)] * self.scale + self.offset

    def _log_mel(self, windows: tf.Tensor) -> tf.Tensor:
        magnitudes = tf.exp(self.log_magnitude(windows))
        mel = tf.math.log(tf.matmul(magnitudes, self.mel) + self.floor)
        return tf.reshape(mel, [-1, mel.shape[1] * mel.shape[2]])


def fit(
    windows: np.ndarray, moments: features.Moments, config: Config
) -> Embedding:
    """Learns the space from training windows, float32 [B, T, F]."""
    raw = Embedding(
        offset=moments.mean,
        scale=features.CLIP_SIGMAS * moments.std,
        mel=mel_matrix(config),
        floor=np.float32(np.exp(config.log_floor)),
        mean=np.float32(0),
        components=np.float32([[0]]),
    )
    parts = [
        raw._log_mel(tf.constant(windows[i : i + _BATCH])).numpy()
        for i in range(0, len(windows), _BATCH)
    ]
    mels = np.concatenate(parts)
    pca = PCA(min(_COMPONENTS, *mels.shape), random_state=0).fit(mels)
    # Directions without any variation (few windows) stay as they are.
    spread = np.sqrt(pca.explained_variance_)
    spread = np.where(spread > 1e-6 * spread[0], spread, 1.0)
    return dataclasses.replace(
        raw,
        mean=np.float32(pca.mean_),
        components=np.float32(pca.components_.T / spread),
    )


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
