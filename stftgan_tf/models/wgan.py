"""The WGAN as a Keras model whose `train_step` is the whole loop body."""

import hashlib
from typing import Any

import keras
import tensorflow as tf

from stftgan_tf.config import Config, TrainConfig
from stftgan_tf.models import augment, losses
from stftgan_tf.models.average import update_average
from stftgan_tf.models.noise import Noise, Purpose
from stftgan_tf.models.replicas import replica_mean, state_variable
from stftgan_tf.models.texture import TextureCritic

# Means that `train_step` reports.
TRACKED = (
    "critic_loss",
    "generator_loss",
    "penalty",
    "critic_gradient_norm",
    "generator_gradient_norm",
    "augment_p",
)


class WGAN(keras.Model):
    """A generator, its critic and the running average of the generator.

    Attributes:
      generator, critic: the networks that learn.
      texture_critic: the network of the texture critic, or None.
      ema_generator: the running average of the generator's weights, which is
        what gets exported.
      generator_optimizer, critic_optimizer: set by `compile`.
      augment_p: float32, the probability of each change by augmentation.
      first_bad_step: int64, the first step with a value that is not finite,
        or -1.
      noise: source of all random numbers.
    """

    def __init__(
        self,
        generator: keras.Model,
        critic: keras.Model,
        ema_generator: keras.Model,
        config: Config,
        augmentation: augment.Augment | None = None,
        texture: TextureCritic | None = None,
    ):
        super().__init__()
        self.generator, self.critic = generator, critic
        self.ema_generator = ema_generator
        self.ema_generator.set_weights(generator.get_weights())
        self.noise = Noise(config.train.seed, config.train.critic_steps + 1)
        self._config = config
        self._loss = losses.LOSSES[config.train.loss]
        self._conditional = config.model.condition != "none"
        self._augmentation = augmentation
        self._texture = texture
        self.texture_critic = texture.network if texture else None
        self._trackers = {n: keras.metrics.Mean(name=n) for n in TRACKED}
        self.augment_p = state_variable(0.0, tf.float32)
        self.first_bad_step = state_variable(-1, tf.int64)
        strategy = tf.distribute.get_strategy()
        self._replicas = strategy.num_replicas_in_sync
        self.built = True

    def compile(self, jit_compile: bool) -> None:
        """Creates both optimizers and chooses XLA or the plain graph."""
        train = self._config.train
        # With optimizer=None Keras makes no third one, which would only be
        # saved and never used.
        super().compile(
            optimizer=None,
            loss=None,
            jit_compile=jit_compile,
            steps_per_execution=train.steps_per_execution,
        )
        self.critic_optimizer = _optimizer(train, train.critic_lr)
        self.generator_optimizer = _optimizer(train, train.generator_lr)
        self.critic_optimizer.build(self._critic_variables)
        self.generator_optimizer.build(self.generator.trainable_variables)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The means that `train_step` reports, which Keras resets."""
        return list(self._trackers.values())

    @property
    def step(self) -> tf.Tensor:
        """Generator updates so far, int64."""
        return tf.convert_to_tensor(self.generator_optimizer.iterations)

    def _maybe_symbolic_build(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing, because everything is built.

        Keras' own method first averages a batch over the replicas, which fails
        for a pair of tensors under MultiWorkerMirroredStrategy.
        """

    def digest(self) -> str:
        """Fingerprint of all weights, to compare runs or workers.

        Eight hexadecimal digits of a SHA-256 of all networks.
        """
        sha256 = hashlib.sha256()
        networks = (
            self.generator,
            self.critic,
            self.ema_generator,
            self.texture_critic,
        )
        for network in filter(None, networks):
            for weight in network.get_weights():
                sha256.update(weight.tobytes())
        return sha256.hexdigest()[:8]

    def call(self, latent: tf.Tensor, label: tf.Tensor | None = None):
        """Maps latents [B, Z] to windows [B, T, F] by the averaged generator.

        Conditional models need `label`, int [B].
        """
        inputs = [latent, label] if self._conditional else latent
        return self.ema_generator(inputs, training=False)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """`critic_steps` critic updates and one generator update.

        Each critic update uses other windows of the batch.

        Args:
          data: windows float32 [critic_steps * B, T, F], or a pair of windows
            and labels int64 [critic_steps * B]. Conditional models need pairs.

        Returns:
          Means of the `TRACKED` values since the last reset.
        """
        step, values = self.step, []
        for update, (real, label) in enumerate(self._batches(data)):
            values.append(self.update_critic(real, label, step, update))
        values.append(self.update_generator(real, label, step))
        update_average(
            self.ema_generator, self.generator, step, self._config.train
        )
        self._check_finite(values, step)
        return self._track(values)

    def update_critic(
        self, real: tf.Tensor, label: tf.Tensor, step: tf.Tensor, update: int
    ) -> dict[str, tf.Tensor]:
        """Updates the critic, and the probability of augmentation.

        Args:
          real: windows float32 [B, T, F].
          label: classes int64 [B], which only conditional models use.
          step: generator updates so far, int64.
          update: index of the critic update within the step.

        Returns:
          Scalars by their names in `TRACKED`.
        """
        train = self._config.train
        fake = self.generate(label, step, update)
        textures = self._crops(real, fake, step, update)
        real, fake = self._augmented(real, fake, step, update)
        loss, penalty, scores, gradients = self._critic_gradients(
            real, fake, textures, label, step, update
        )
        norm = self._apply(
            self.critic_optimizer, gradients, self._critic_variables
        )
        if train.loss == "wgan":
            limit = train.weight_clip
            for variable in self.critic.trainable_variables:
                variable.assign(tf.clip_by_value(variable, -limit, limit))
        self._adapt_augmentation(*scores)
        return {
            "critic_loss": loss,
            "penalty": penalty,
            "critic_gradient_norm": norm,
            "augment_p": tf.identity(self.augment_p),
        }

    def update_generator(
        self, real: tf.Tensor, label: tf.Tensor, step: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Updates the generator; arguments as in `update_critic`."""
        update = self._config.train.critic_steps
        variables = self.generator.trainable_variables
        with tf.GradientTape() as tape:
            fake = self.generate(label, step, update)
            textures = self._crops(real, fake, step, update)
            real, fake = self._augmented(real, fake, step, update)
            fake_scores = self.score(fake, label)
            real_scores = fake_scores
            if self._loss.relativistic:
                real_scores = self.score(real, label)
            total = loss = self._loss.generator(real_scores, fake_scores)
            if textures:
                total += self._texture.generator_loss(*textures, step)
        gradients = _dense_gradients(tape, total, variables)
        norm = self._apply(self.generator_optimizer, gradients, variables)
        return {"generator_loss": loss, "generator_gradient_norm": norm}

    def generate(
        self, label: tf.Tensor, step: tf.Tensor, update: int
    ) -> tf.Tensor:
        """Generates windows [B, T, F] of the classes [B] of real windows."""
        shape = [tf.shape(label)[0], self._config.model.latent_dim]
        latents = self.noise.normal(shape, step, update)  # (B, Z)
        inputs = [latents, label] if self._conditional else latents
        return self.generator(inputs, training=True)

    def score(self, windows: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        """Scores [B, 1] of windows [B, T, F].

        The classes may be those of B / 2 windows: real and generated windows
        in one batch have the same classes.
        """
        windows = windows[..., None]  # (B, T, F, 1)
        if not self._conditional:
            return self.critic(windows, training=True)
        repeats = tf.shape(windows)[0] // tf.shape(label)[0]
        classes = tf.tile(label[:, None], [repeats, 1])  # (B, 1)
        return self.critic([windows, classes], training=True)

    def penalty(
        self,
        real: tf.Tensor,
        fake: tf.Tensor,
        label: tf.Tensor,
        step: tf.Tensor,
        update: int,
    ) -> tf.Tensor:
        """The mean penalty, multiplied by `penalty_interval`."""
        weights = self.noise.uniform(
            [tf.shape(real)[0]], step, update, Purpose.PENALTY_POINTS
        )
        values = self._loss.penalty(
            lambda windows: self.score(windows, label), real, fake, weights
        )
        return self._config.train.penalty_interval * tf.reduce_mean(values)

    def _batches(self, data: Any) -> Any:
        """Windows and labels for each critic update."""
        count = self._config.train.critic_steps
        windows, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
        if labels is None:
            if self._conditional:
                raise ValueError(
                    "there are no labels; a conditional model trains on pairs "
                    "of windows and labels, as from `training_batches`"
                )
            labels = tf.zeros(tf.shape(windows)[:1], tf.int64)
        if windows.shape.rank != 3 or (windows.shape[0] or 0) % count:
            raise ValueError(
                f"a batch of shape {windows.shape}; expected [B, T, F] with B "
                f"a multiple of train.critic_steps, {count}"
            )
        return zip(
            tf.split(windows, count), tf.split(labels, count), strict=True
        )

    def _critic_gradients(
        self,
        real: tf.Tensor,
        fake: tf.Tensor,
        textures: tuple,
        label: tf.Tensor,
        step: tf.Tensor,
        update: int,
    ) -> tuple:
        """Loss, penalty, (real scores, fake scores) and gradients.

        The penalty is computed every `penalty_interval` updates and is 0 in
        the others. Gradients are taken inside the branches, because those of a
        `tf.cond` that contains gradients need the step as a constant: XLA
        would compile again for every step, or fail.
        """
        train = self._config.train
        interval = train.penalty_interval

        def compute(penalised: bool) -> tuple:
            with tf.GradientTape() as tape:
                # One call for both: the critic has no batch statistics.
                scores = self.score(tf.concat([real, fake], 0), label)
                real_scores, fake_scores = tf.split(scores, 2)
                loss = self._loss.critic(real_scores, fake_scores)
                penalty = 0.0
                if penalised:
                    penalty = self.penalty(real, fake, label, step, update)
                total = loss + train.penalty_weight * penalty
                if textures:
                    # Adam and RMSprop do not depend on the scale of a loss, so
                    # the critics can share an optimizer.
                    total += self._texture.critic_loss(
                        *textures, interval if penalised else 0
                    )
            gradients = _dense_gradients(tape, total, self._critic_variables)
            penalty = tf.convert_to_tensor(penalty)
            return loss, penalty, (real_scores, fake_scores), gradients

        if self._loss.penalty is None or interval == 1:
            return compute(self._loss.penalty is not None)
        updates = step * train.critic_steps + update
        return tf.cond(
            updates % interval == 0,
            lambda: compute(True),
            lambda: compute(False),
        )

    @property
    def _critic_variables(self) -> list:
        variables = self.critic.trainable_variables
        if self.texture_critic is None:
            return variables
        return variables + self.texture_critic.trainable_variables

    def _crops(
        self, real: tf.Tensor, fake: tf.Tensor, step: tf.Tensor, update: int
    ) -> tuple:
        """Textures of real and generated windows; () without their critic."""
        if self._texture is None:
            return ()
        draws = self.noise.uniform([2], step, update, Purpose.TEXTURE_CROP)
        return self._texture.crop(real, fake, draws)

    def _augmented(
        self, real: tf.Tensor, fake: tf.Tensor, step: tf.Tensor, update: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Real and generated windows, each with its own random changes."""
        if self._augmentation is None:
            return real, fake

        def change(windows: tf.Tensor, purpose: Purpose) -> tf.Tensor:
            shape = [tf.shape(windows)[0], augment.DRAWS]
            draws = self.noise.uniform(shape, step, update, purpose)
            return self._augmentation(windows, draws, self.augment_p)

        return (
            change(real, Purpose.REAL_AUGMENTATION),
            change(fake, Purpose.FAKE_AUGMENTATION),
        )

    def _adapt_augmentation(
        self, real_scores: tf.Tensor, fake_scores: tf.Tensor
    ) -> None:
        """Moves the probability of augmentation by how well scores separate."""
        if self._augmentation is None:
            return
        signs = tf.sign(real_scores - fake_scores)
        separation = replica_mean(tf.reduce_mean(signs))
        batch = tf.shape(real_scores)[0]
        windows = tf.cast(batch * self._replicas, tf.float32)
        self.augment_p.assign(
            augment.next_probability(
                self.augment_p, separation, windows, self._config
            )
        )

    def _apply(
        self, optimizer: Any, gradients: list, variables: list
    ) -> tf.Tensor:
        """Applies gradients; returns their norm on this replica.

        Optimizers add up the gradients of all replicas.
        """
        optimizer.apply([g / self._replicas for g in gradients], variables)
        return tf.linalg.global_norm(gradients)

    def _check_finite(
        self, values: list[dict[str, tf.Tensor]], step: tf.Tensor
    ) -> None:
        """Sets `first_bad_step` if any value on any replica is not finite."""
        scalars = [x for update in values for x in update.values()]
        finite = tf.reduce_all(tf.math.is_finite(tf.stack(scalars)))
        failed = replica_mean(tf.cast(~finite, tf.float32)) > 0
        bad = tf.logical_and(failed, self.first_bad_step < 0)
        self.first_bad_step.assign(tf.where(bad, step, self.first_bad_step))

    def _track(
        self, values: list[dict[str, tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        """Adds the values of a step to the means and returns the means."""
        for update in values:
            for name, value in update.items():
                self._trackers[name].update_state(value)
        # With several workers Keras averages results over their first axis.
        workers = self._config.train.strategy == "multiworker"
        shape = [1] if workers else []
        trackers = self._trackers.items()
        return {n: tf.reshape(t.result(), shape) for n, t in trackers}


def _dense_gradients(
    tape: tf.GradientTape, loss: tf.Tensor, variables: list
) -> list[tf.Tensor]:
    """Gradients of the loss; those of embeddings become dense."""
    gradients = tape.gradient(loss, variables)
    return [tf.convert_to_tensor(gradient) for gradient in gradients]


def _optimizer(train: TrainConfig, rate: float) -> keras.optimizers.Optimizer:
    if train.optimizer == "rmsprop":
        return keras.optimizers.RMSprop(rate)
    return keras.optimizers.Adam(rate, train.beta_1, train.beta_2)
