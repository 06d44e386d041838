"""The WGAN as a Keras model whose `train_step` is the whole loop body."""

import hashlib
from typing import Any

import keras
import tensorflow as tf

from stftgan_tf.config import Config, TrainConfig
from stftgan_tf.models import augment, losses

TRACKED = (
    "critic_loss",
    "generator_loss",
    "penalty",
    "critic_gradient_norm",
    "generator_gradient_norm",
    "augment_p",
)

# What noise is drawn for, each from seeds of its own.
_LATENTS, _MIXING, _REAL_CHANGES, _FAKE_CHANGES = range(4)
_PURPOSES = 4

# Share of the windows seen that the average's half-life is at most, as in
# StyleGAN2-ADA (Karras et al. 2020, appendix C: ramp-up .05).
_EMA_RAMP = 0.05


class WGAN(keras.Model):
    """A generator, its critic and the running average of the generator.

    All noise is drawn from (seed, replica, step), so a resumed training equals
    an uninterrupted one. (With XLA the same seed gives different noise.)

    Attributes:
      generator, critic: the networks that learn.
      ema_generator: the average of the generator's weights, to be exported.
      augment_p: float32, the probability of each change by augmentation.
      first_bad_step: int64, the first step with a value that is not finite,
        or -1.
    """

    def __init__(
        self,
        generator: keras.Model,
        critic: keras.Model,
        ema_generator: keras.Model,
        config: Config,
        changes: augment.Augment | None = None,
    ):
        super().__init__()
        self.generator, self.critic = generator, critic
        self.ema_generator = ema_generator
        self.ema_generator.set_weights(generator.get_weights())
        self._config, self._settings = config.train, config
        self._loss = losses.LOSSES[config.train.loss]
        self._conditional = config.model.condition != "none"
        self._changes = changes
        self._trackers = {n: keras.metrics.Mean(name=n) for n in TRACKED}
        self.augment_p = _state(0.0, tf.float32)
        self.first_bad_step = _state(-1, tf.int64)
        strategy = tf.distribute.get_strategy()
        self._replicas = strategy.num_replicas_in_sync
        self.built = True

    def compile(self, jit_compile: bool) -> None:
        """Makes both optimizers and chooses XLA or the plain graph."""
        # A default optimizer would be a third one, never used but saved.
        super().compile(
            optimizer=None,
            loss=None,
            jit_compile=jit_compile,
            steps_per_execution=self._config.steps_per_execution,
        )
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

    def _maybe_symbolic_build(self, *args: Any, **kwargs: Any) -> None:
        """Nothing is left to build.

        Keras' own takes a batch and averages it over the replicas first, which
        fails for a pair under MultiWorkerMirroredStrategy.
        """

    def digest(self) -> str:
        """Tells whether two trainings, or two workers, have the same weights.

        Eight hexadecimal digits of a SHA-256 of all three networks.
        """
        found = hashlib.sha256()
        for network in (self.generator, self.critic, self.ema_generator):
            for weight in network.get_weights():
                found.update(weight.tobytes())
        return found.hexdigest()[:8]

    def call(self, latent: tf.Tensor, label: tf.Tensor | None = None):
        """Windows [B, T, F] of latents [B, Z], by the averaged generator."""
        return self.ema_generator(
            [latent, label] if self._conditional else latent, training=False
        )

    def train_step(
        self, data: tuple[tf.Tensor, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """`critic_steps` critic updates on fresh windows, one of the generator.

        Args:
          data: windows float32 [critic_steps * B, T, F] and their labels
            int64 [critic_steps * B] (read by conditional networks only).

        Returns:
          Means of the `TRACKED` values since they were last reset.
        """
        step = self.step
        parts = (tf.split(x, self._config.critic_steps) for x in data)
        seen = []
        for index, batch in enumerate(zip(*parts, strict=True)):
            seen.append(self._update_critic(*batch, step, index))
        seen.append(self._update_generator(*batch, step))
        self._update_average(step)
        self._watch_finite(seen, step)
        for values in seen:
            for name, value in values.items():
                self._trackers[name].update_state(value)
        # Keras averages over the first axis of what several workers return.
        shape = [1] if self._config.strategy == "multiworker" else []
        trackers = self._trackers.items()
        return {n: tf.reshape(t.result(), shape) for n, t in trackers}

    def _update_critic(
        self, real: tf.Tensor, label: tf.Tensor, step: tf.Tensor, index: int
    ) -> dict[str, tf.Tensor]:
        config, batch = self._config, tf.shape(real)[0]
        fake = self._generate(label, step, index)
        real, fake = self._changed(real, fake, step, index)
        loss, penalty, ours, theirs, gradients = self._critic_gradients(
            real, fake, label, step, index
        )
        variables = self.critic.trainable_variables
        norm = self._apply(self.critic_optimizer, gradients, variables)
        if config.loss == "wgan":
            bound = config.weight_clip
            for variable in variables:
                variable.assign(tf.clip_by_value(variable, -bound, bound))
        self._adapt(ours, theirs, batch)
        return {
            "critic_loss": loss,
            "penalty": penalty,
            "critic_gradient_norm": norm,
            "augment_p": tf.identity(self.augment_p),
        }

    def _critic_gradients(
        self,
        real: tf.Tensor,
        fake: tf.Tensor,
        label: tf.Tensor,
        step: tf.Tensor,
        index: int,
    ) -> tuple:
        """Loss, penalty, scores of real and generated windows, gradients.

        The penalty comes every `penalty_interval` updates and else is 0.
        The gradients are taken within the branches: those of a `tf.cond` with
        gradients in it need the step as a constant, so that XLA compiles each
        step anew, or fails.
        """
        config, variables = self._config, self.critic.trainable_variables

        def take(penalised: bool) -> tuple:
            with tf.GradientTape() as tape:
                # One call for both: the critic has no statistics of its batch.
                scores = self._score(tf.concat([real, fake], 0), label)
                ours, theirs = tf.split(scores, 2)
                loss, penalty = self._loss.critic(ours, theirs), 0.0
                if penalised:
                    penalty = self._penalty(real, fake, label, step, index)
                total = loss + config.penalty_weight * penalty
            gradients = _dense_gradients(tape, total, variables)
            return loss, tf.convert_to_tensor(penalty), ours, theirs, gradients

        every = config.penalty_interval
        if self._loss.penalty is None or every == 1:
            return take(self._loss.penalty is not None)
        update = step * config.critic_steps + index
        return tf.cond(
            update % every == 0, lambda: take(True), lambda: take(False)
        )

    def _update_generator(
        self, real: tf.Tensor, label: tf.Tensor, step: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        index = self._config.critic_steps
        variables = self.generator.trainable_variables
        with tf.GradientTape() as tape:
            fake = self._generate(label, step, index)
            real, fake = self._changed(real, fake, step, index)
            theirs = self._score(fake, label)
            ours = theirs
            if self._loss.relativistic:
                ours = self._score(real, label)
            loss = self._loss.generator(ours, theirs)
        gradients = _dense_gradients(tape, loss, variables)
        norm = self._apply(self.generator_optimizer, gradients, variables)
        return {"generator_loss": loss, "generator_gradient_norm": norm}

    def _generate(
        self, label: tf.Tensor, step: tf.Tensor, index: int
    ) -> tf.Tensor:
        """Fresh windows, of the same labels as the real ones."""
        shape = [tf.shape(label)[0], self._settings.model.latent_dim]
        latents = self._normal(shape, step, index)
        inputs = [latents, label] if self._conditional else latents
        return self.generator(inputs, training=True)

    def _score(self, windows: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        """Scores [B, 1] of windows [B, T, F]; labels repeat to B."""
        windows = windows[..., None]  # (B, T, F, 1)
        if not self._conditional:
            return self.critic(windows, training=True)
        repeats = tf.shape(windows)[0] // tf.shape(label)[0]
        labels = tf.tile(label[:, None], [repeats, 1])  # (B, 1)
        return self.critic([windows, labels], training=True)

    def _penalty(
        self,
        real: tf.Tensor,
        fake: tf.Tensor,
        label: tf.Tensor,
        step: tf.Tensor,
        index: int,
    ) -> tf.Tensor:
        """The mean penalty, as much larger as it is rarer."""
        weights = self._uniform([tf.shape(real)[0]], step, index, _MIXING)
        each = self._loss.penalty(
            lambda windows: self._score(windows, label), real, fake, weights
        )
        return self._config.penalty_interval * tf.reduce_mean(each)

    def _changed(
        self, real: tf.Tensor, fake: tf.Tensor, step: tf.Tensor, index: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Both as augmentation changes them, each window in its own way."""
        if self._changes is None:
            return real, fake
        shape = [tf.shape(real)[0], augment.DRAWS]
        ours = self._uniform(shape, step, index, _REAL_CHANGES)
        theirs = self._uniform(shape, step, index, _FAKE_CHANGES)
        return (
            self._changes(real, ours, self.augment_p),
            self._changes(fake, theirs, self.augment_p),
        )

    def _adapt(self, ours: tf.Tensor, theirs: tf.Tensor, batch: tf.Tensor):
        """Moves the probability of augmentation one step.

        The share of real windows that score above their generated partner
        stands for r_t of Karras et al. 2020 (equation 1): a Wasserstein
        critic's scores have no zero.
        """
        settings = self._settings.augment
        if self._changes is None:
            return
        told = self._mean(tf.reduce_mean(tf.sign(ours - theirs)))
        windows = tf.cast(batch * self._replicas, tf.float32)
        move = tf.sign(told - settings.target) * windows
        p = self.augment_p + move / settings.adjust_windows
        self.augment_p.assign(tf.clip_by_value(p, 0.0, 1.0))

    def _apply(self, optimizer, gradients, variables) -> tf.Tensor:
        """One update; returns the norm of this replica's gradients.

        Optimizers add up what the replicas bring.
        """
        optimizer.apply([g / self._replicas for g in gradients], variables)
        return tf.linalg.global_norm(gradients)

    def _update_average(self, step: tf.Tensor) -> None:
        """The first steps must not linger, so the half-life warms up."""
        config = self._config
        batch = float(config.batch_size)
        seen = batch * (1.0 + tf.cast(step, tf.float32))
        half_life = tf.minimum(config.ema_half_life_windows, _EMA_RAMP * seen)
        decay = tf.pow(0.5, batch / tf.maximum(half_life, 1e-3))
        pairs = zip(
            self.ema_generator.variables, self.generator.variables, strict=True
        )
        for average, value in pairs:
            average.assign(decay * average + (1.0 - decay) * value)

    def _watch_finite(
        self, seen: list[dict[str, tf.Tensor]], step: tf.Tensor
    ) -> None:
        numbers = [value for values in seen for value in values.values()]
        finite = tf.reduce_all(tf.math.is_finite(tf.stack(numbers)))
        # 1 where any replica's is not.
        failed = self._mean(tf.cast(~finite, tf.float32)) > 0
        bad = tf.logical_and(failed, self.first_bad_step < 0)
        self.first_bad_step.assign(tf.where(bad, step, self.first_bad_step))

    def _mean(self, value: tf.Tensor) -> tf.Tensor:
        """Mean over the replicas."""
        if self._replicas == 1:
            return value
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.MEAN, value)

    def _normal(self, shape: Any, step: tf.Tensor, index: int) -> tf.Tensor:
        seed = self._seed(step, index, _LATENTS)
        return tf.random.stateless_normal(shape, seed, alg="philox")

    def _uniform(
        self, shape: Any, step: tf.Tensor, index: int, purpose: int
    ) -> tf.Tensor:
        seed = self._seed(step, index, purpose)
        return tf.random.stateless_uniform(shape, seed, alg="philox")

    def _seed(self, step: tf.Tensor, index: int, purpose: int) -> tf.Tensor:
        """A seed [2] that no other draw of the training has."""
        draws = _PURPOSES * (self._config.critic_steps + 1)
        number = step * draws + _PURPOSES * index + purpose
        context = tf.distribute.get_replica_context()
        replica = tf.cast(context.replica_id_in_sync_group, tf.int64)
        # The seed has 31 bits.
        key = self._config.seed + replica * 2**32
        return tf.stack([key, number])


def _dense_gradients(
    tape: tf.GradientTape, loss: tf.Tensor, variables: list
) -> list[tf.Tensor]:
    """The gradients by each variable; those of embeddings are sparse."""
    found = tape.gradient(loss, variables)
    return [tf.convert_to_tensor(gradient) for gradient in found]


def _state(value: Any, dtype: tf.DType) -> tf.Variable:
    """A variable that every replica sets to the same value."""
    return tf.Variable(
        value,
        trainable=False,
        dtype=dtype,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


def value_of(state: tf.Variable) -> int:
    """What this worker's copy of a variable holds; no other is asked."""
    strategy = tf.distribute.get_strategy()
    return int(strategy.experimental_local_results(state)[0])


def _optimizer(config: TrainConfig, rate: float) -> keras.optimizers.Optimizer:
    if config.optimizer == "rmsprop":
        return keras.optimizers.RMSprop(rate)
    return keras.optimizers.Adam(rate, config.beta_1, config.beta_2)
