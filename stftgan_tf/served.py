"""The graph of an export: seeds or latents to audio, every row for itself.

Signatures; B rows come in and go out:
  serving_default  seed int64 [B]
  sample           the same, and psi float [B] or [1]; 1 where it is not given
  interpolate      seed_a, seed_b int64 [B], weight float [B] from 0 (a) to 1
  generate         latent float [B, Z]
All give audio [B, N], window [B, T, F] and wav_bytes [B]. Where the model
learnt labels, all take label int64 [B]; for seeds, -1 draws one as often as
the data has it. Where it learnt clusters, seeds draw one (between two seeds it
is seed_a's) and generate takes cluster int64 [B].
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from stftgan_tf import features, phase
from stftgan_tf.config import Config


class Served(tf.Module):
    """What is saved."""

    def __init__(
        self,
        generator: keras.Model,
        moments: features.Moments,
        config: Config,
        prior: np.ndarray | None = None,
    ):
        """Keeps the generator's variables for the SavedModel.

        Args:
          generator: built, with its weights.
          moments: of the training split.
          config: of the run.
          prior: float32 [classes] of a conditional generator.
        """
        super().__init__()
        self._generator, self._moments = generator, moments
        self._config, self._prior = config, prior
        self._variables = [v.value for v in generator.variables]

    def signatures(self) -> dict[str, Any]:
        """Functions by the name they are served under."""
        condition = self._config.model.condition
        asked = [tf.TensorSpec([None], tf.int64, name=condition)]
        label = asked if condition == "label" else []
        seed, seed_a, seed_b = (
            tf.TensorSpec([None], tf.int64, name=name)
            for name in ("seed", "seed_a", "seed_b")
        )
        weight, psi = (
            tf.TensorSpec([None], tf.float32, name=name)
            for name in ("weight", "psi")
        )
        latent = tf.TensorSpec(
            [None, self._config.model.latent_dim], tf.float32, name="latent"
        )
        sample = self.sample.get_concrete_function(seed, *label)
        return {
            "serving_default": sample,
            "sample": self._truncated([seed, *label, psi]),
            "interpolate": self.interpolate.get_concrete_function(
                seed_a, seed_b, weight, *label
            ),
            "generate": self.generate.get_concrete_function(
                latent, *(asked if condition != "none" else [])
            ),
        }

    @tf.function
    def sample(
        self,
        seed: tf.Tensor,
        label: tf.Tensor | None = None,
        psi: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """What `generate` makes of what seeds [B] and labels [B] stand for.

        With psi [B] or [1] below 1 latents are nearer to the middle: what is
        more usual comes more often (Karras et al. 2019, "A Style-Based
        Generator Architecture for GANs", section on truncation).
        """
        latent = latents_of(seed, self._config.model.latent_dim)
        if psi is not None:
            latent *= psi[:, None]
        return self._outputs(latent, self._classes(seed, label))

    @tf.function
    def interpolate(
        self,
        seed_a: tf.Tensor,
        seed_b: tf.Tensor,
        weight: tf.Tensor,
        label: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Between two seeds, row by row; the class is `seed_a`'s."""
        size = self._config.model.latent_dim
        ends = latents_of(seed_a, size), latents_of(seed_b, size)
        latent = slerp(*ends, weight)
        return self._outputs(latent, self._classes(seed_a, label))

    @tf.function
    def generate(
        self, latent: tf.Tensor, asked: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Audio [B, N], window [B, T, F] and WAV files of latents [B, Z]."""
        return self._outputs(latent, asked)

    def _truncated(self, specs: list[tf.TensorSpec]) -> Any:
        """`sample` with a psi that servers need not be given."""
        one = tf.constant([1.0])
        if len(specs) == 2:

            def call(seed, psi=one):
                return self.sample(seed, None, psi)
        else:

            def call(seed, label, psi=one):
                return self.sample(seed, label, psi)

        self.truncated = tf.function(call, input_signature=specs)
        return self.truncated

    def _classes(
        self, seed: tf.Tensor, label: tf.Tensor | None
    ) -> tf.Tensor | None:
        """Classes [B], as asked for or drawn by the seeds."""
        if self._prior is None:
            return None
        drawn = classes_of(seed, self._prior)
        return drawn if label is None else tf.where(label < 0, drawn, label)

    def _outputs(
        self, latent: tf.Tensor, classes: tf.Tensor | None
    ) -> dict[str, tf.Tensor]:
        inputs = latent if classes is None else [latent, classes]
        window = self._generator(inputs, training=False)
        audio = phase.audio_of(window, self._moments, self._config)
        rate_hz = self._config.audio.sample_rate_hz

        def to_wav(samples):
            return tf.audio.encode_wav(samples[:, None], rate_hz)

        wav = tf.map_fn(to_wav, audio, fn_output_signature=tf.string)
        return {"audio": audio, "window": window, "wav_bytes": wav}


def latents_of(seed: tf.Tensor, latent_dim: int) -> tf.Tensor:
    """Latents float32 [B, Z] of seeds int64 [B], each row by its own seed.

    Philox (Salmon et al. 2011) by name: the default generator gives other
    numbers on other devices.
    """

    def row(one):
        key = tf.stack([one, tf.zeros_like(one)])
        return tf.random.stateless_normal([latent_dim], key, alg="philox")

    return tf.map_fn(row, seed, fn_output_signature=tf.float32)


def classes_of(seed: tf.Tensor, prior: np.ndarray) -> tf.Tensor:
    """Classes int64 [B] of seeds int64 [B], as often as `prior` [K] says."""
    ends = tf.constant(np.cumsum(prior)[:-1], tf.float32)

    def row(one):
        key = tf.stack([one, tf.ones_like(one)])
        drawn = tf.random.stateless_uniform([], key, alg="philox")
        return tf.reduce_sum(tf.cast(drawn >= ends, tf.int64))

    return tf.map_fn(row, seed, fn_output_signature=tf.int64)


def slerp(a: tf.Tensor, b: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Spherical interpolation of latents [B, Z] by weights [B].

    A straight line between normal vectors runs through lengths that they
    never have (White 2016, "Sampling Generative Networks", section 2.1).
    """
    lengths = tf.norm(a, axis=1) * tf.norm(b, axis=1)
    cosine = tf.reduce_sum(a * b, axis=1) / tf.maximum(lengths, 1e-12)
    angle = tf.acos(tf.clip_by_value(cosine, -1.0, 1.0))
    sine = tf.sin(angle)
    # Of one direction (a seed with itself) a straight line is right.
    straight = sine < 1e-4
    sine = tf.where(straight, 1.0, sine)
    first = tf.where(straight, 1 - weight, tf.sin((1 - weight) * angle) / sine)
    last = tf.where(straight, weight, tf.sin(weight * angle) / sine)
    return first[:, None] * a + last[:, None] * b
