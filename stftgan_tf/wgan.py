"""The WGAN as a Keras model whose `train_step` is the whole loop body."""

from typing import Any

import keras
import tensorflow as tf

from stftgan_tf import losses
from stftgan_tf.config import TrainConfig

TRACKED = (
    "critic_loss",
    "generator_loss",
    "gradient_penalty",
    "critic_gradient_norm",
    "generator_gradient_norm",
)


class WGAN(keras.Model):
    """A generator, its critic and the running average of the generator.

    All noise is drawn from (seed, step), so that a resumed training is the
    uninterrupted one. (With XLA the same seed gives other noise.)

    Attributes:
      generator, critic: the networks that learn.
      ema_generator: the average of the generator's weights, to be exported.
      first_bad_step: int64, the first step with a value that is not finite,
        or -1.
    """

    def __init__(
        self,
        generator: keras.Model,
        critic: keras.Model,
        ema_generator: keras.Model,
        config: TrainConfig,
    ):
        super().__init__()
        self.generator, self.critic = generator, critic
        self.ema_generator = ema_generator
        self.ema_generator.set_weights(generator.get_weights())
        self._config = config
        self._latent_dim = generator.input_shape[-1]
        self._trackers = {n: keras.metrics.Mean(name=n) for n in TRACKED}
        self.first_bad_step = tf.Variable(-1, trainable=False, dtype=tf.int64)
        self.built = True

    def compile(self, jit_compile: bool) -> None:
        """Makes both optimizers and chooses XLA or the plain graph."""
        # A default optimizer would be a third one, never used but saved.
        super().compile(optimizer=None, loss=None, jit_compile=jit_compile)
        config = self._config
        self.critic_optimizer = _optimizer(config, config.critic_lr)
        self.generator_optimizer = _optimizer(config, config.generator_lr)
        self.critic_optimizer.build(self.critic.trainable_variables)
        self.generator_optimizer.build(self.generator.trainable_variables)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The trackers, so that Keras resets them."""
        return list(self._trackers.values())

    @property
    def step(self) -> tf.Tensor:
        """Generator updates so far, int64."""
        return tf.convert_to_tensor(self.generator_optimizer.iterations)

    def call(self, latent: tf.Tensor) -> tf.Tensor:
        """Windows [B, T, F] of latents [B, Z], by the averaged generator."""
        return self.ema_generator(latent, training=False)

    def train_step(self, data: tf.Tensor) -> dict[str, tf.Tensor]:
        """`critic_steps` critic updates on fresh windows, one of the generator.

        Args:
          data: windows float32 [critic_steps * B, T, F].

        Returns:
          Means of the `TRACKED` values since they were last reset.
        """
        step = self.step
        batches = tf.split(data, self._config.critic_steps)
        for index, real in enumerate(batches):
            values = self._update_critic(real, step, index)
        values |= self._update_generator(tf.shape(real)[0], step)
        self._update_average(step)
        self._watch_finite(values, step)
        for name, value in values.items():
            self._trackers[name].update_state(value)
        return {n: t.result() for n, t in self._trackers.items()}

    def _update_critic(
        self, real: tf.Tensor, step: tf.Tensor, index: int
    ) -> dict[str, tf.Tensor]:
        config, batch = self._config, tf.shape(real)[0]
        fake = self.generator(self._latents(batch, step, index), training=True)
        penalty = tf.constant(0.0)
        with tf.GradientTape() as tape:
            # One call for both: the critic has no statistics of its batch.
            scores = self.critic(tf.concat([real, fake], 0), training=True)
            loss = losses.critic_loss(scores[:batch], scores[batch:])
            if config.loss == "wgan-gp":
                mix = self._mixing(batch, step, index)
                penalty = losses.gradient_penalty(self.critic, real, fake, mix)
            total = loss + config.penalty_weight * penalty
        variables = self.critic.trainable_variables
        gradients = tape.gradient(total, variables)
        self.critic_optimizer.apply(gradients, variables)
        if config.loss == "wgan":
            bound = config.clip_value
            for variable in variables:
                variable.assign(tf.clip_by_value(variable, -bound, bound))
        return {
            "critic_loss": loss,
            "gradient_penalty": penalty,
            "critic_gradient_norm": tf.linalg.global_norm(gradients),
        }

    def _update_generator(
        self, batch: tf.Tensor, step: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        latents = self._latents(batch, step, self._config.critic_steps)
        variables = self.generator.trainable_variables
        with tf.GradientTape() as tape:
            fake = self.generator(latents, training=True)
            loss = losses.generator_loss(self.critic(fake, training=True))
        gradients = tape.gradient(loss, variables)
        self.generator_optimizer.apply(gradients, variables)
        norm = tf.linalg.global_norm(gradients)
        return {"generator_loss": loss, "generator_gradient_norm": norm}

    def _update_average(self, step: tf.Tensor) -> None:
        """The first steps must not linger, so the decay warms up."""
        steps = tf.cast(step, tf.float32)
        warm = (1.0 + steps) / (10.0 + steps)
        decay = tf.minimum(self._config.ema_decay, warm)
        pairs = zip(
            self.ema_generator.variables, self.generator.variables, strict=True
        )
        for average, value in pairs:
            average.assign(decay * average + (1.0 - decay) * value)

    def _watch_finite(
        self, values: dict[str, tf.Tensor], step: tf.Tensor
    ) -> None:
        finite = tf.reduce_all(tf.math.is_finite(tf.stack([*values.values()])))
        bad = tf.logical_and(~finite, self.first_bad_step < 0)
        self.first_bad_step.assign(tf.where(bad, step, self.first_bad_step))

    def _latents(
        self, batch: tf.Tensor, step: tf.Tensor, index: int
    ) -> tf.Tensor:
        return tf.random.stateless_normal(
            [batch, self._latent_dim], self._seed(step, index, 0), alg="philox"
        )

    def _mixing(
        self, batch: tf.Tensor, step: tf.Tensor, index: int
    ) -> tf.Tensor:
        return tf.random.stateless_uniform(
            [batch], self._seed(step, index, 1), alg="philox"
        )

    def _seed(self, step: tf.Tensor, index: int, purpose: int) -> tf.Tensor:
        """A seed [2] that no other draw of the training has."""
        draws = 2 * (self._config.critic_steps + 1)
        number = step * draws + 2 * index + purpose
        return tf.stack([tf.constant(self._config.seed, tf.int64), number])


def _optimizer(config: TrainConfig, rate: float) -> keras.optimizers.Optimizer:
    if config.optimizer == "rmsprop":
        return keras.optimizers.RMSprop(rate)
    return keras.optimizers.Adam(rate, config.beta_1, config.beta_2)


def latents(count: int, latent_dim: int, seed: int) -> Any:
    """Fixed latents [count, Z] for pictures; apart from those of training."""
    return tf.random.stateless_normal(
        [count, latent_dim], [seed, -1], alg="philox"
    )
