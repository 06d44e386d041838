"""A small classifier of audio, to see and to rate what is generated.

It learns from real training audio whose level, place in time and background
noise are varied: one that learns from clean audio alone is far too kind to
audio that is none of its labels.
"""

import zipfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from stftgan_tf.files import atomic_file
from stftgan_tf.progress import Progress

# Features: 32 ms frames every 8 ms, 40 mel bands.
_FRAME_SECS, _STEP_SECS, _BANDS = 0.032, 0.008, 40
# Below this a band is silence (-80 dB of a full-scale sine).
_FLOOR = 1e-4

# Variation of the training audio.
_GAIN_DB = (-12.0, 6.0)
_SHIFT_SECS = 0.06
_SNR_DB = (5.0, 40.0)

_EPOCHS, _BATCH = 40, 64
_EMBEDDING = 64

# To be raised whenever another judge would be learnt from the same windows.
VERSION = 2


class Judge:
    """Labels and embeddings of audio."""

    def __init__(self, samples: int, classes: int, rate_hz: int, seed: int = 0):
        """Knows nothing yet.

        Args:
          samples: N, the length of all audio.
          classes: how many labels there are.
          rate_hz: of the audio.
          seed: of weights, order and variation.
        """
        self._rate_hz, self._seed = rate_hz, seed
        spectra = self._log_mel(tf.zeros([1, samples]))
        self._model = _network(spectra.shape[1:], classes, seed)
        self._embed = tf.function(
            lambda x: self._model(self._log_mel(x), training=False),
            input_signature=[tf.TensorSpec([None, samples])],
        )

    def __call__(self, audio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities [B, classes] and embeddings [B, 64] of audio [B, N]."""
        found = [
            [part.numpy() for part in self._embed(audio[i : i + 256])]
            for i in range(0, len(audio), 256)
        ]
        probabilities, embeddings = zip(*found, strict=True)
        return np.concatenate(probabilities), np.concatenate(embeddings)

    def fit(self, audio: np.ndarray, labels: np.ndarray) -> None:
        """Learns from real audio float32 [B, N] with labels int [B]."""
        progress = Progress("judge", _EPOCHS, "epochs")
        rng = np.random.default_rng(self._seed)
        steps = _EPOCHS * -(-len(audio) // _BATCH)
        schedule = keras.optimizers.schedules.CosineDecay(2e-3, steps)
        optimizer = keras.optimizers.Adam(schedule)
        cross_entropy = keras.losses.SparseCategoricalCrossentropy()

        @tf.function(reduce_retracing=True)
        def step(batch, truth):
            with tf.GradientTape() as tape:
                found, _ = self._model(self._log_mel(batch), training=True)
                loss = cross_entropy(truth, found)
            variables = self._model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)

        optimizer.build(self._model.trainable_variables)
        for epoch in range(_EPOCHS):
            order = rng.permutation(len(audio))
            for start in range(0, len(audio), _BATCH):
                rows = order[start : start + _BATCH]
                step(vary(audio[rows], self._rate_hz, rng), labels[rows])
            progress.update(epoch + 1)
        progress.close(_EPOCHS)

    def save(self, path: Path) -> None:
        """Writes what was learnt."""
        with atomic_file(path) as file:
            np.savez(file, *self._model.get_weights())

    def load(self, path: Path) -> bool:
        """Reads what `save` wrote; False where that cannot be read."""
        try:
            with np.load(path) as file:
                self._model.set_weights([file[name] for name in file.files])
        # Of an archive that is a bare array, the last two.
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


def vary(
    audio: np.ndarray, rate_hz: int, rng: np.random.Generator
) -> np.ndarray:
    """Audio [B, N] at other levels, shifted in time, with noise added."""
    count, samples = audio.shape
    gains = 10 ** (rng.uniform(*_GAIN_DB, count) / 20)
    most = min(round(_SHIFT_SECS * rate_hz), samples - 1)
    shifts = rng.integers(-most, most + 1, count)
    rms = np.sqrt(np.mean(np.square(audio), axis=1)) + 1e-9
    noise = rms * 10 ** (-rng.uniform(*_SNR_DB, count) / 20)
    varied = np.zeros_like(audio)
    for row, shift in enumerate(shifts):
        low, high = max(0, shift), min(samples, samples + shift)
        varied[row, low:high] = audio[row, low - shift : high - shift]
    varied += noise[:, None] * rng.standard_normal(audio.shape)
    return np.float32(gains[:, None] * varied)


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
    scores = layers.Dense(
        classes,
        activation="softmax",
        kernel_initializer=keras.initializers.GlorotUniform(seed=seed),
    )(embedding)
    return keras.Model(spectra, [scores, embedding], name="judge")
