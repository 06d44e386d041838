"""A small audio classifier, which predicts the label of a sample.

It is trained on real audio, augmented in level, position and background noise.
A classifier trained on clean audio alone is overconfident: it assigns a high
probability to audio that has none of the labels.

The cost of the training is fixed: the number of steps and the size of the
input do not depend on the data set.
"""

import itertools
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from stftgan_tf.data.batching import slices
from stftgan_tf.files import atomic_file
from stftgan_tf.metrics.embedding import in_batches
from stftgan_tf.progress import Progress

# Features: 40 mel bands of 32 ms frames, every 8 ms; in long windows every 16,
# 24, ... ms, so that there are at most 80.
_STEP_SECS, _STEPS_PER_FRAME, _BANDS, _MAX_FRAMES = 0.008, 4, 40, 80
# A band below this level counts as silent (-80 dB of a full-scale sine).
_FLOOR = 1e-4

# Ranges of the augmentation of the training audio.
GAIN_DB = (-12.0, 6.0)
SHIFT_SECS = 0.06
SNR_DB = (5.0, 40.0)

_BATCH, _EMBEDDING = 64, 64

# The training ends after MAX_STEPS, or earlier after _PATIENCE of the
# _MEASUREMENTS of the held-out windows (one in _HELD_OUT) without a lower loss.
MAX_STEPS, _MEASUREMENTS, _PATIENCE, _HELD_OUT = 400, 10, 3, 10

# Samples classified at a time.
_CALL_BATCH = 256

# Increase this whenever the same windows would give different weights.
VERSION = 3


class Classifier:
    """Predicts label probabilities and embeddings of audio."""

    def __init__(self, samples: int, classes: int, rate_hz: int, seed: int = 0):
        """Builds the untrained network.

        Args:
          samples: N, the length of all audio.
          classes: number of labels.
          rate_hz: sample rate of the audio.
          seed: seed of the weights, the training order and the augmentation.
        """
        self._rate_hz, self._seed = rate_hz, seed
        spectra = self._log_mel(tf.zeros([1, samples]))
        self._model = _network(spectra.shape[1:], classes, seed)
        self._predict = tf.function(
            lambda x: self._model(self._log_mel(x), training=False),
            input_signature=[tf.TensorSpec([None, samples])],
        )

    def __call__(self, audio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities [B, classes] and embeddings [B, 64] of audio [B, N]."""
        probabilities, vectors = in_batches(self._predict, audio, _CALL_BATCH)
        return probabilities, vectors

    def fit(
        self,
        audio: np.ndarray,
        labels: np.ndarray,
        max_steps: int | None = None,
        hold_out: bool = True,
    ) -> None:
        """Trains on real audio.

        Args:
          audio: float32 [B, N].
          labels: int [B].
          max_steps: the longest training, in batches of 64 rows; MAX_STEPS
            by default.
          hold_out: whether to hold out one row in ten, to end earlier when
            their loss has stopped falling, and to keep the weights that are
            best on them. Otherwise the last weights are kept, which are more
            often right and more confident.
        """
        max_steps = max_steps or MAX_STEPS
        progress = Progress("classifier", max_steps, "steps")
        held_out = np.arange(len(audio)) % _HELD_OUT == _HELD_OUT - 1
        held_out &= hold_out
        batches = self._batches(audio[~held_out], labels[~held_out])
        step = self._train_step(max_steps)
        every = max(1, max_steps // _MEASUREMENTS)
        lowest, weights, misses, done = np.inf, None, 0, 0
        while done < max_steps and misses < _PATIENCE:
            count = min(every, max_steps - done)
            for batch in itertools.islice(batches, count):
                step(*batch)
                done += 1
                progress.update(done)
            loss = self._loss(audio[held_out], labels[held_out])
            # Never true for NaN: too few rows to hold one out.
            misses = misses + 1 if loss >= lowest else 0
            if not misses:
                lowest, weights = loss, self._model.get_weights()
        progress.close(done)
        self._model.set_weights(weights)

    def _batches(
        self, audio: np.ndarray, labels: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Augmented batches and their labels without end, in random order."""
        rng = np.random.default_rng(self._seed)
        while True:
            order = rng.permutation(len(audio))
            for part in slices(len(audio), _BATCH):
                rows = order[part]
                yield augment(audio[rows], self._rate_hz, rng), labels[rows]

    def _train_step(self, max_steps: int) -> Callable[..., None]:
        """A function of a batch and its labels that updates the weights."""
        schedule = keras.optimizers.schedules.CosineDecay(8e-3, max_steps)
        optimizer = keras.optimizers.Adam(schedule)
        cross_entropy = keras.losses.SparseCategoricalCrossentropy()

        @tf.function(reduce_retracing=True)
        def step(batch, targets):
            with tf.GradientTape() as tape:
                probabilities, _ = self._model(
                    self._log_mel(batch), training=True
                )
                loss = cross_entropy(targets, probabilities)
            variables = self._model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)

        optimizer.build(self._model.trainable_variables)
        return step

    def _loss(self, audio: np.ndarray, labels: np.ndarray) -> float:
        """Mean cross entropy, NaN without rows."""
        if not len(audio):
            return np.nan
        probabilities = self(audio)[0][np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(probabilities, 1e-7)).mean())

    def save(self, path: Path, vectors: np.ndarray) -> None:
        """Writes the weights, and embeddings of audio, to an .npz file."""
        with atomic_file(path) as file:
            np.savez(file, *self._model.get_weights(), vectors=vectors)

    def load(self, path: Path) -> np.ndarray | None:
        """Reads the weights; returns the embeddings, None if unreadable."""
        try:
            with np.load(path) as file:
                vectors = file["vectors"]
                names = [name for name in file.files if name != "vectors"]
                self._model.set_weights([file[name] for name in names])
        # NumPy raises the last two for a file with a single array.
        except (
            OSError,
            ValueError,
            EOFError,
            zipfile.BadZipFile,
            AttributeError,
            TypeError,
            KeyError,
            IndexError,
        ):
            return None
        return np.asarray(vectors)

    def _log_mel(self, audio: tf.Tensor) -> tf.Tensor:
        """Log-mel spectra [B, T, bands, 1] of audio [B, N]."""
        samples, shortest = audio.shape[1], round(_STEP_SECS * self._rate_hz)
        # A window may be shorter than a frame.
        length = min(_STEPS_PER_FRAME * shortest, samples)
        frames = 1 + (samples - length) // shortest
        # A multiple of the shortest: TensorFlow cuts frames into parts of the
        # greatest common divisor of length and step.
        step = shortest * -(-frames // _MAX_FRAMES)
        magnitudes = tf.abs(tf.signal.stft(audio, length, step))
        bins = magnitudes.shape[-1]
        matrix = tf.signal.linear_to_mel_weight_matrix(
            _BANDS, bins, self._rate_hz, 60.0, self._rate_hz / 2
        )
        mel = tf.matmul(magnitudes * (4.0 / length), matrix)
        return tf.math.log(mel + _FLOOR)[..., None]


def augment(
    audio: np.ndarray, rate_hz: int, rng: np.random.Generator
) -> np.ndarray:
    """Audio [B, N] at random levels, shifted in time, with noise added."""
    count, samples = audio.shape
    gains = 10 ** (rng.uniform(*GAIN_DB, count) / 20)
    largest = min(round(SHIFT_SECS * rate_hz), samples - 1)
    shifts = rng.integers(-largest, largest + 1, count)
    rms = np.sqrt(np.mean(np.square(audio), axis=1)) + 1e-9
    noise = rms * 10 ** (-rng.uniform(*SNR_DB, count) / 20)
    result = np.zeros_like(audio)
    for row, shift in enumerate(shifts):
        start, stop = max(0, shift), min(samples, samples + shift)
        result[row, start:stop] = audio[row, start - shift : stop - shift]
    result += noise[:, None] * rng.standard_normal(audio.shape)
    return np.float32(gains[:, None] * result)


def _network(shape: tuple[int, ...], classes: int, seed: int) -> keras.Model:
    """Four convolutions, a mean over time and frequency, two dense layers."""
    spectra = keras.Input(shape)
    x = layers.Normalization(mean=-5.0, variance=9.0)(spectra)
    for index, width in enumerate((16, 32, 64, 64)):
        x = layers.Conv2D(
            width,
            3,
            strides=2,
            padding="same",
            use_bias=False,
            kernel_initializer=keras.initializers.HeNormal(seed=seed + index),
        )(x)
        # The averages must settle within a few hundred steps.
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.ReLU()(x)
    x = layers.Flatten()(layers.AveragePooling2D((2, 1), padding="same")(x))
    x = layers.Dropout(0.3, seed=seed)(x)
    embedding = layers.Dense(
        _EMBEDDING,
        activation="relu",
        kernel_initializer=keras.initializers.HeNormal(seed=seed),
    )(x)
    probabilities = layers.Dense(
        classes,
        activation="softmax",
        kernel_initializer=keras.initializers.GlorotUniform(seed=seed),
    )(embedding)
    return keras.Model(spectra, [probabilities, embedding], name="classifier")
