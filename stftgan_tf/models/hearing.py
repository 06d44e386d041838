"""What the critic hears of a window, besides its values."""

from typing import Any

import numpy as np
import tensorflow as tf
from keras import layers

from stftgan_tf.config import Config
from stftgan_tf.dsp import stft
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.metrics import embedding


class Hearing(layers.Layer):
    """Appends mel bands to each frame: [B, T, F] -> [B, T, F + bands].

    A window is normalised bin by bin, so a critic of windows weighs faint
    bins as much as loud ones. Logarithms of mel bands show it the spectrum as
    people hear it, of the magnitudes that an export synthesises (without the
    floor).
    """

    def __init__(self, config: Config, moments: Moments, **kwargs: Any):
        super().__init__(dtype="float32", **kwargs)
        self._config, self._moments = config, moments
        mel = embedding.mel_matrix(config)
        # A band may be so narrow that no bin is in it.
        mel = mel[:, mel.sum(axis=0) > 0]
        self._mel = mel / mel.sum(axis=0)
        self._floor = np.float32(np.exp(config.log_floor))
        self._centre = np.float32(moments.mean @ self._mel)
        # Windows are cut off at three deviations; so are the bands.
        self._scale = np.float32(3 * moments.std @ self._mel)

    def call(self, windows: tf.Tensor) -> tf.Tensor:
        """Windows and their mel bands, both about -1 to 1."""
        logs = self._moments.inverse_standardise(windows)
        magnitudes = stft.inverse_log_magnitude(logs, self._config)
        # Without the Nyquist bin.
        mels = tf.math.log(magnitudes[..., :-1] @ self._mel + self._floor)
        bands = (mels - self._centre) / self._scale
        return tf.concat([windows, bands], axis=-1)

    def compute_output_shape(self, shape: tuple) -> tuple:
        """The shape of the result."""
        return (*shape[:-1], shape[-1] + self._mel.shape[1])
