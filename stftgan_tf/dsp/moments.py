"""Mean and standard deviation of the training data, per frequency bin.

They map log-magnitudes to the values in [-1, 1] that the networks see, and
back. The pipeline computes them once; the manifest, the run and the export
carry them along, so training and serving cannot differ.
"""

import dataclasses
from typing import Any

import numpy as np

from stftgan_tf.config import Config

# Standard deviations that [-1, 1] spans, as in SpecGAN (Donahue et al. 2019,
# "Adversarial Audio Synthesis", section 3.2).
CLIP_SIGMAS = 3.0

# Keeps a bin that varies only by rounding from being amplified.
MIN_STD = 1e-2


@dataclasses.dataclass(frozen=True)
class Moments:
    """Moments of the training split's log-magnitudes, per bin.

    Attributes:
      mean: float32 [F].
      std: float32 [F], at least `MIN_STD`.
    """

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def neutral(cls, config: Config) -> "Moments":
        """Mean 0 and deviation 1, for networks built without data."""
        bins = config.stft.bins
        return cls(np.zeros(bins, np.float32), np.ones(bins, np.float32))

    @classmethod
    def from_dict(cls, values: dict[str, list[float]]) -> "Moments":
        """Moments from the lists in a manifest."""
        std = np.maximum(np.float32(values["std"]), np.float32(MIN_STD))
        return cls(mean=np.float32(values["mean"]), std=std)

    def standardise(self, log_magnitudes: Any) -> Any:
        """Maps log-magnitudes to a window: 3 sigma become 1, clipped.

        Args:
          log_magnitudes: float32 tensor [..., T, F].

        Returns:
          float32 tensor of the same shape, in [-1, 1].
        """
        import tensorflow as tf

        scaled = (log_magnitudes - self.mean) / (CLIP_SIGMAS * self.std)
        return tf.clip_by_value(scaled, -1.0, 1.0)

    def inverse_standardise(self, window: Any) -> Any:
        """Maps a window back to log-magnitudes.

        Args:
          window: float32 tensor [..., T, F] in [-1, 1].

        Returns:
          float32 tensor of the same shape.
        """
        return window * (CLIP_SIGMAS * self.std) + self.mean

    def silent_frame(self, config: Config) -> np.ndarray:
        """The window values of a frame at the floor of the log-magnitudes.

        Args:
          config: defines the floor (`Config.log_floor`).

        Returns:
          float32 [F] in [-1, 1].
        """
        scaled = (config.log_floor - self.mean) / (CLIP_SIGMAS * self.std)
        return np.clip(np.float32(scaled), -1.0, 1.0)
