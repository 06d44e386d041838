"""The graph of an export: seeds or latents to audio, each row by itself.

Signatures; B rows come in and B rows go out:
  serving_default  seed int64 [B]
  sample           the same, and truncation float [B] or [1] (default 1)
  interpolate      seed_a, seed_b int64 [B], weight float [B] from 0 (a) to 1
  generate         latent float [B, Z]
  long             seed int64 [B]: several windows, crossfaded
All return audio [B, N] and wav_bytes [B]; all but `long` also return window
[B, T, F]. If the model learnt labels, all take label int64 [B]; with seeds it
is optional, and with -1 (the default) the seed selects one: consecutive seeds
have the labels in the shares of the data. If the model learnt clusters, seeds
select a cluster (between two seeds: that of seed_a) and generate takes cluster
int64 [B].
"""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from stftgan_tf.config import Config
from stftgan_tf.dsp import phase, stft
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.saved_model import latents
from stftgan_tf.saved_model.request import MAX_TRUNCATION


class SamplingModule(tf.Module):
    """The functions and variables that are saved."""

    def __init__(
        self,
        generator: keras.Model,
        moments: Moments,
        config: Config,
        prior: np.ndarray | None = None,
        secs: float = 5.0,
    ):
        """Keeps the generator's variables for the SavedModel.

        Args:
          generator: built, with its weights.
          moments: of the training split.
          config: of the run.
          prior: float32 [classes], class shares of a conditional generator.
          secs: shortest duration of the signature `long`.
        """
        super().__init__()
        self._num_parts = num_long_parts(config, secs)
        self._moments, self._config, self._prior = moments, config, prior
        # The Keras model itself must not be an attribute: TensorFlow would save
        # each of its weights a second time.
        self._variables = [v.value for v in generator.variables]
        self._generate = lambda inputs: generator(inputs, training=False)

    def signatures(self) -> dict[str, Any]:
        """Functions by the name of their signature.

        Optional inputs are optional arguments of the functions.
        """
        condition = self._config.model.condition
        if condition == "label":
            functions = self._labelled_functions()
        else:
            functions = self._unlabelled_functions()
        latent_dim = self._config.model.latent_dim
        inputs = [tf.TensorSpec([None, latent_dim], tf.float32, name="latent")]
        if condition != "none":
            inputs.append(_int64(condition))
        functions["generate"] = (self.generate, inputs)
        return {
            name: tf.function(call, input_signature=specs, autograph=False)
            for name, (call, specs) in functions.items()
        }

    def _unlabelled_functions(self) -> dict[str, tuple[Any, list]]:
        """Functions of seeds, with the specifications of their inputs."""
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

    def _labelled_functions(self) -> dict[str, tuple[Any, list]]:
        """Functions of seeds and labels, with the specifications."""
        seed, label, one = _int64("seed"), _int64("label"), tf.constant([1.0])
        any_label = tf.constant([-1], tf.int64)
        return {
            "serving_default": (
                lambda seed, label=any_label: self.sample(seed, label),
                [seed, label],
            ),
            "sample": (
                lambda seed, label=any_label, truncation=one: self.sample(
                    seed, label, truncation
                ),
                [seed, label, _float32("truncation")],
            ),
            "interpolate": (
                lambda seed_a, seed_b, weight, label=any_label: (
                    self.interpolate(seed_a, seed_b, weight, label)
                ),
                [_int64("seed_a"), _int64("seed_b"), _float32("weight"), label],
            ),
            "long": (
                lambda seed, label=any_label: self.long(seed, label),
                [seed, label],
            ),
        }

    @property
    def long_samples(self) -> int:
        """Number of audio samples that `long` returns."""
        frames, config = self._config.window.frames, self._config.stft
        frames += (self._num_parts - 1) * max(1, frames // 2)
        return (frames - 1) * config.frame_step + config.frame_length

    def windows(self, seed: tf.Tensor) -> tf.Tensor:
        """Windows [B, T, F] of seeds [B], without computing audio."""
        latent = latents.of_seeds(seed, self._config.model.latent_dim)
        return self._window(latent, self.classes(seed))

    def classes(
        self, seed: tf.Tensor, label: tf.Tensor | None = None
    ) -> tf.Tensor | None:
        """Classes [B]: the requested ones, or drawn by the seeds."""
        if self._prior is None:
            return None
        drawn = latents.classes_of_seeds(seed, self._prior)
        if label is None:
            return drawn
        return tf.where(label < 0, drawn, self._checked(label, lowest=-1))

    def sample(
        self,
        seed: tf.Tensor,
        label: tf.Tensor | None = None,
        truncation: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """The outputs for the latents that seeds [B] draw.

        Truncation [B] or [1] scales the latents: below 1 they are closer to
        the mean, so samples are more typical and less varied (Karras et al.
        2019, "A Style-Based Generator Architecture for GANs", appendix B).
        """
        latent = latents.of_seeds(seed, self._config.model.latent_dim)
        if truncation is not None:
            truncation = _bounded("truncation", truncation, 0, MAX_TRUNCATION)
            latent *= truncation[:, None]
        return self._outputs(latent, self.classes(seed, label))

    def interpolate(
        self,
        seed_a: tf.Tensor,
        seed_b: tf.Tensor,
        weight: tf.Tensor,
        label: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Between two seeds, row by row; the class is that of `seed_a`."""
        size = self._config.model.latent_dim
        latent = latents.slerp(
            latents.of_seeds(seed_a, size),
            latents.of_seeds(seed_b, size),
            _bounded("weight", weight, 0, 1),
        )
        return self._outputs(latent, self.classes(seed_a, label))

    def generate(
        self, latent: tf.Tensor, condition: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Audio [B, N], window [B, T, F] and WAV files of latents [B, Z]."""
        classes = None if condition is None else self._checked(condition)
        return self._outputs(_bounded("latent", latent, -1000, 1000), classes)

    def long(
        self, seed: tf.Tensor, label: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Windows along a path through the latents, crossfaded.

        The first window is the sample of the same seed. Every second window
        is a new draw; those between are interpolated. Powers are crossfaded
        instead of amplitudes, so windows that have nothing in common keep
        their energy.
        """
        num_parts = self._num_parts
        latent = latents.path(seed, self._config.model.latent_dim, num_parts)
        latent = tf.reshape(latent, [-1, latent.shape[-1]])
        classes = self.classes(seed, label)
        if classes is not None:
            classes = tf.repeat(classes, num_parts)
        window = self._window(latent, classes)
        logs = self._moments.inverse_standardise(window)
        power = tf.square(stft.inverse_log_magnitude(logs, self._config))
        power = tf.reshape(power, [-1, num_parts, *power.shape[1:]])
        power = crossfade(tf.transpose(power, [0, 3, 1, 2]))
        magnitudes = tf.sqrt(tf.transpose(power, [0, 2, 1]))
        audio = phase.magnitudes_to_audio(magnitudes, self._config)
        return self._audio_outputs(audio)

    def _checked(self, classes: tf.Tensor, lowest: int = 0) -> tf.Tensor:
        """The classes [B]; an error in the graph if one does not exist.

        The layers would take -1 for the last class, and some devices ignore
        indices that are out of range.
        """
        kind, highest = self._config.model.condition, len(self._prior) - 1
        return _bounded(kind, classes, lowest, highest)

    def _outputs(
        self, latent: tf.Tensor, classes: tf.Tensor | None
    ) -> dict[str, tf.Tensor]:
        window = self._window(latent, classes)
        audio = phase.windows_to_audio(window, self._moments, self._config)
        return {"window": window, **self._audio_outputs(audio)}

    def _window(
        self, latent: tf.Tensor, classes: tf.Tensor | None
    ) -> tf.Tensor:
        return self._generate(latent if classes is None else [latent, classes])

    def _audio_outputs(self, audio: tf.Tensor) -> dict[str, tf.Tensor]:
        rate_hz = self._config.audio.sample_rate_hz

        def to_wav(samples):
            return tf.audio.encode_wav(samples[:, None], rate_hz)

        wav = tf.map_fn(to_wav, audio, fn_output_signature=tf.string)
        return {"audio": audio, "wav_bytes": wav}


def _bounded(
    name: str, values: tf.Tensor, lowest: int, highest: int
) -> tf.Tensor:
    """The values; an error in the graph if one is out of range, or NaN."""
    valid = tf.reduce_all((values >= lowest) & (values <= highest))
    message = f"{name} must be {lowest} to {highest}"
    with tf.control_dependencies([tf.debugging.Assert(valid, [message])]):
        return tf.identity(values)


def num_long_parts(config: Config, secs: float) -> int:
    """How many windows that overlap by half last `secs`; at least 2."""
    frames = config.window.frames
    step = max(1, frames // 2) * config.stft.frame_step
    missing = secs * config.audio.sample_rate_hz - config.window_samples
    return max(2, 1 + math.ceil(missing / step))


def crossfade(parts: tf.Tensor) -> tf.Tensor:
    """Overlap-adds parts [..., K, T] by half of their length: [..., T'].

    The weights rise and fall linearly where two parts overlap, and sum to 1.
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


def _int64(name: str) -> tf.TensorSpec:
    return tf.TensorSpec([None], tf.int64, name=name)


def _float32(name: str) -> tf.TensorSpec:
    return tf.TensorSpec([None], tf.float32, name=name)
