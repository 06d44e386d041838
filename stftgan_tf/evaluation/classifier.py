"""A small audio classifier, which predicts the label of a sample.

It is trained on real audio, augmented in level, position and background noise.
A classifier trained on clean audio alone is overconfident: it assigns a high
probability to audio that has none of the labels.
"""

import zipfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from stftgan_tf.data.batching import slices
from stftgan_tf.files import atomic_file
from stftgan_tf.metrics.embedding import in_batches
from stftgan_tf.progress import Progress

# Features: 32 ms frames every 8 ms, 40 mel bands.
_FRAME_SECS, _STEP_SECS, _BANDS = 0.032, 0.008, 40
# A band below this level counts as silent (-80 dB of a full-scale sine).
_FLOOR = 1e-4

# Ranges of the augmentation of the training audio.
GAIN_DB = (-12.0, 6.0)
SHIFT_SECS = 0.06
SNR_DB = (5.0, 40.0)

EPOCHS, _BATCH = 40, 64
_EMBEDDING = 64

# Samples classified at a time.
_CALL_BATCH = 256

# Increase this whenever the same windows would give different weights.
VERSION = 2


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

    def fit(self, audio: np.ndarray, labels: np.ndarray) -> None:
        """Trains on real audio float32 [B, N] with labels int [B]."""
        progress = Progress("classifier", EPOCHS, "epochs")
        rng = np.random.default_rng(self._seed)
        steps = EPOCHS * -(-len(audio) // _BATCH)
        schedule = keras.optimizers.schedules.CosineDecay(2e-3, steps)
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
        for epoch in range(EPOCHS):
            order = rng.permutation(len(audio))
            for part in slices(len(audio), _BATCH):
                rows = order[part]
                step(augment(audio[rows], self._rate_hz, rng), labels[rows])
            progress.update(epoch + 1)
        progress.close(EPOCHS)

    def save(self, path: Path) -> None:
        """Writes the weights to an .npz file."""
        with atomic_file(path) as file:
            np.savez(file, *self._model.get_weights())

    def load(self, path: Path) -> bool:
        """Reads the weights; returns whether the file could be read."""
        try:
            with np.load(path) as file:
                self._model.set_weights([file[name] for name in file.files])
        # NumPy raises the last two for a file with a single array.
        except (
            OSError,
            ValueError,
            EOFError,
            zipfile.BadZipFile,
            AttributeError,
            TypeError,
        ):
            return False
        return True

    def _log_mel(self, audio: tf.Tensor) -> tf.Tensor:
        """Log-mel spectra [B, T, bands, 1] of audio [B, N]."""
        # A window may be shorter than a frame.
        length = min(round(_FRAME_SECS * self._rate_hz), audio.shape[1])
        step = round(_STEP_SECS * self._rate_hz)
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
            strides=1 if index == 0 else 2,
            padding="same",
            use_bias=False,
            kernel_initializer=keras.initializers.HeNormal(seed=seed + index),
        )(x)
        x = layers.BatchNormalization()(x)
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
