"""The graph of an export: seeds or latents to audio, every row for itself.

Signatures; B rows come in and go out:
  serving_default  seed int64 [B]
  sample           the same, and truncation float [B] or [1]; 1 where it is not given
  interpolate      seed_a, seed_b int64 [B], weight float [B] from 0 (a) to 1
  generate         latent float [B, Z]
  long             seed int64 [B]: several windows, one into the next
All give audio [B, N] and wav_bytes [B]; all but `long` also give window
[B, T, F]. Where the model learnt labels, all take label int64 [B]; for seeds,
-1 (servers need not be given it) draws one as often as the data has it. Where
it learnt clusters, seeds draw one (between two seeds it is seed_a's) and
generate takes cluster int64 [B].
"""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from stftgan_tf.config import Config
from stftgan_tf.dsp import phase, stft
from stftgan_tf.dsp.moments import Moments


class SamplingModule(tf.Module):
    """What is saved."""

    def __init__(
        self,
        generator: keras.Model,
        moments: Moments,
        config: Config,
        prior: np.ndarray | None = None,
        long_secs: float = 5.0,
    ):
        """Keeps the generator's variables for the SavedModel.

        Args:
          generator: built, with its weights.
          moments: of the training split.
          config: of the run.
          prior: float32 [classes] of a conditional generator.
          long_secs: that `long` makes at least.
        """
        super().__init__()
        self._parts = long_parts(config, long_secs)
        self._generator, self._moments = generator, moments
        self._config, self._prior = config, prior
        self._variables = [v.value for v in generator.variables]

    def signatures(self) -> dict[str, Any]:
        """Functions by the name they are served under.

        Values that servers need not be given stand as the functions' defaults.
        """
        condition = self._config.model.condition
        found = self._labelled() if condition == "label" else self._unlabelled()
        latent = tf.TensorSpec(
            [None, self._config.model.latent_dim], tf.float32, name="latent"
        )
        asked = [] if condition == "none" else [_int64(condition)]
        found["generate"] = (self.generate, [latent, *asked])
        return {
            name: tf.function(call, input_signature=specs, autograph=False)
            for name, (call, specs) in found.items()
        }

    def _unlabelled(self) -> dict[str, tuple[Any, list[tf.TensorSpec]]]:
        """Functions of seeds alone, with what they take."""
        seed, one = _int64("seed"), tf.constant([1.0])
        return {
            "serving_default": (lambda seed: self.sample(seed), [seed]),
            "sample": (
                lambda seed, truncation=one: self.sample(
                    seed, None, truncation
                ),
                [seed, _float32("truncation")],
            ),
            "interpolate": (
                lambda seed_a, seed_b, weight: self.interpolate(
                    seed_a, seed_b, weight
                ),
                [_int64("seed_a"), _int64("seed_b"), _float32("weight")],
            ),
            "long": (lambda seed: self.long(seed), [seed]),
        }

    def _labelled(self) -> dict[str, tuple[Any, list[tf.TensorSpec]]]:
        """The same, of labels, too."""
        seed, label, one = _int64("seed"), _int64("label"), tf.constant([1.0])
        any_ = tf.constant([-1], tf.int64)
        return {
            "serving_default": (
                lambda seed, label=any_: self.sample(seed, label),
                [seed, label],
            ),
            "sample": (
                lambda seed, label=any_, truncation=one: self.sample(
                    seed, label, truncation
                ),
                [seed, label, _float32("truncation")],
            ),
            "interpolate": (
                lambda seed_a, seed_b, weight, label=any_: self.interpolate(
                    seed_a, seed_b, weight, label
                ),
                [_int64("seed_a"), _int64("seed_b"), _float32("weight"), label],
            ),
            "long": (
                lambda seed, label=any_: self.long(seed, label),
                [seed, label],
            ),
        }

    @property
    def long_samples(self) -> int:
        """Samples that `long` makes."""
        frames, stft = self._config.window.frames, self._config.stft
        frames += (self._parts - 1) * max(1, frames // 2)
        return (frames - 1) * stft.frame_step + stft.frame_length

    def sample(
        self,
        seed: tf.Tensor,
        label: tf.Tensor | None = None,
        truncation: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """What `generate` makes of what seeds [B] and labels [B] stand for.

        With truncation [B] or [1] below 1 latents are nearer to the middle: what is
        more usual comes more often (Karras et al. 2019, "A Style-Based
        Generator Architecture for GANs", section on truncation).
        """
        latent = latents_of(seed, self._config.model.latent_dim)
        if truncation is not None:
            latent *= truncation[:, None]
        return self._outputs(latent, self._classes(seed, label))

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

    def generate(
        self, latent: tf.Tensor, asked: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Audio [B, N], window [B, T, F] and WAV files of latents [B, Z]."""
        known = None if asked is None else self._known(asked)
        return self._outputs(latent, known)

    def long(
        self, seed: tf.Tensor, label: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Windows along a way through the latents, one faded into the next.

        It begins with the sample of the same seed; every second window is a
        draw, those between lie half way. Powers are faded, so that two windows
        that have nothing in common keep their energy.
        """
        parts = self._parts
        latent = path_of(seed, self._config.model.latent_dim, parts)
        latent = tf.reshape(latent, [-1, latent.shape[-1]])
        classes = self._classes(seed, label)
        if classes is not None:
            classes = tf.repeat(classes, parts)
        window = self._window(latent, classes)
        logs = self._moments.inverse_standardise(window)
        power = tf.square(stft.inverse_log_magnitude(logs))
        power = tf.reshape(power, [-1, parts, *power.shape[1:]])
        faded = faded_together(tf.transpose(power, [0, 3, 1, 2]))
        magnitudes = tf.sqrt(tf.transpose(faded, [0, 2, 1]))
        return self._heard(phase.magnitudes_to_audio(magnitudes, self._config))

    def _classes(
        self, seed: tf.Tensor, label: tf.Tensor | None
    ) -> tf.Tensor | None:
        """Classes [B], as asked for or drawn by the seeds."""
        if self._prior is None:
            return None
        drawn = classes_of(seed, self._prior)
        if label is None:
            return drawn
        return tf.where(label < 0, drawn, self._known(label, least=-1))

    def _known(self, asked: tf.Tensor, least: int = 0) -> tf.Tensor:
        """Classes [B] as they are; an error in the graph if one is unknown.

        The layers would take -1 for the last one, and some devices any.
        """
        last = len(self._prior) - 1
        right = tf.reduce_all((asked >= least) & (asked <= last))
        told = f"{self._config.model.condition} must be {least} to {last}"
        with tf.control_dependencies([tf.debugging.Assert(right, [told])]):
            return tf.identity(asked)

    def _outputs(
        self, latent: tf.Tensor, classes: tf.Tensor | None
    ) -> dict[str, tf.Tensor]:
        window = self._window(latent, classes)
        audio = phase.windows_to_audio(window, self._moments, self._config)
        return {"window": window, **self._heard(audio)}

    def _window(
        self, latent: tf.Tensor, classes: tf.Tensor | None
    ) -> tf.Tensor:
        inputs = latent if classes is None else [latent, classes]
        return self._generator(inputs, training=False)

    def _heard(self, audio: tf.Tensor) -> dict[str, tf.Tensor]:
        rate_hz = self._config.audio.sample_rate_hz

        def to_wav(samples):
            return tf.audio.encode_wav(samples[:, None], rate_hz)

        wav = tf.map_fn(to_wav, audio, fn_output_signature=tf.string)
        return {"audio": audio, "wav_bytes": wav}


def long_parts(config: Config, secs: float) -> int:
    """How many windows, each half over the next, last so long; at least 2."""
    frames = config.window.frames
    step = max(1, frames // 2) * config.stft.frame_step
    wanted = secs * config.audio.sample_rate_hz - config.window_samples
    return max(2, 1 + math.ceil(wanted / step))


def path_of(seed: tf.Tensor, latent_dim: int, parts: int) -> tf.Tensor:
    """Latents [B, parts, Z]: draws of seeds [B], and half way between two."""
    count = parts // 2 + 1

    def draws(one):
        key = tf.stack([one, 2 * tf.ones_like(one)])
        shape = [count - 1, latent_dim]
        return tf.random.stateless_normal(shape, key, alg="philox")

    others = tf.map_fn(draws, seed, fn_output_signature=tf.float32)
    first = latents_of(seed, latent_dim)[:, None]
    ends = tf.concat([first, others], axis=1)
    ends = [ends[:, i] for i in range(count)]
    half = tf.fill(tf.shape(seed), 0.5)
    path = [
        slerp(ends[i // 2], ends[i // 2 + 1], half) if i % 2 else ends[i // 2]
        for i in range(parts)
    ]
    return tf.stack(path, axis=1)


def faded_together(parts: tf.Tensor) -> tf.Tensor:
    """Overlap-adds parts [..., K, T], each half over the next: [..., T'].

    Weights rise and fall linearly where two parts meet, and sum to 1.
    """
    count, length = parts.shape[-2:]
    step = max(1, length // 2)
    ramp = np.minimum(np.arange(length) + 0.5, length - np.arange(length) - 0.5)
    weights = np.tile(ramp, (count, 1))
    total = np.zeros((count - 1) * step + length)
    for index, part in enumerate(weights):
        total[index * step :][:length] += part
    for index in range(count):
        weights[index] /= total[index * step :][:length]
    return tf.signal.overlap_and_add(parts * np.float32(weights), step)


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


def _int64(name: str) -> tf.TensorSpec:
    return tf.TensorSpec([None], tf.int64, name=name)


def _float32(name: str) -> tf.TensorSpec:
    return tf.TensorSpec([None], tf.float32, name=name)
