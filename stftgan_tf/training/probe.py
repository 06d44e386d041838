"""Fixed generator inputs: the same latents are shown again and again."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from stftgan_tf.config import Config
from stftgan_tf.data.batching import slices
from stftgan_tf.models.condition import Condition

# Windows generated at a time.
_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Probe:
    """Inputs whose windows show how a generator changes during training.

    Attributes:
      latents: float32 [B, Z].
      classes: int64 [B], of a conditional generator; else None.
    """

    latents: tf.Tensor
    classes: tf.Tensor | None = None

    def windows(self, generator: keras.Model) -> np.ndarray:
        """Generates float32 [B, T, F]."""
        # `Model.predict` would distribute the work among the workers.
        batches = [
            generator(self._inputs(part), training=False)
            for part in slices(len(self.latents), _BATCH)
        ]
        return np.concatenate([windows.numpy() for windows in batches])

    def scaled(self, scale: float) -> "Probe":
        """The same inputs with latents times `scale`."""
        return dataclasses.replace(self, latents=scale * self.latents)

    def _inputs(self, part: slice) -> tf.Tensor | list[tf.Tensor]:
        if self.classes is None:
            return self.latents[part]
        return [self.latents[part], self.classes[part]]


def probe_of(config: Config, condition: Condition | None, count: int) -> Probe:
    """Draws `count` inputs from `train.seed`, not from the training's noise."""
    seed, latent_dim = config.train.seed, config.model.latent_dim
    latents = tf.random.stateless_normal(
        [count, latent_dim], [seed, -1], alg="philox"
    )
    if condition is None:
        return Probe(latents)
    return Probe(latents, tf.constant(condition.draw(count, seed)))
