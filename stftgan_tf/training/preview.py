"""Shows windows of the same latents as pictures and audio."""

import io
import logging
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import soundfile
import tensorflow as tf

from stftgan_tf import pictures
from stftgan_tf.config import Config
from stftgan_tf.dsp import phase
from stftgan_tf.dsp.moments import Moments
from stftgan_tf.files import write_atomically
from stftgan_tf.training.budget import Budget
from stftgan_tf.training.probe import Probe

# Windows in a preview.
NUM_WINDOWS = 16

_LOG = logging.getLogger(__name__)


def preview_path(run: Path, step: int) -> Path:
    """The picture of a step; its audio has the suffix `.wav`."""
    return run / "samples" / f"step-{step:08d}.png"


class Preview(keras.callbacks.Callback):
    """Writes a picture and a WAV file every `train.preview_every` steps."""

    def __init__(
        self,
        run: Path,
        config: Config,
        budget: Budget,
        writer: tf.summary.SummaryWriter,
        moments: Moments,
        probe: Probe,
    ):
        """Removes previews of steps that this training will repeat.

        Args:
          run: directory of the run.
          config: of the run.
          budget: provides the step.
          writer: for TensorBoard.
          moments: of the training data.
          probe: inputs of the generator.
        """
        super().__init__()
        self._run = run
        self._config, self._budget, self._writer = config, budget, writer
        self._probe = probe
        self._to_audio = tf.function(
            lambda windows: phase.windows_to_audio(windows, moments, config)
        )
        self._remove_later()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Writes a preview if it is time to."""
        if self._budget.step % self._config.train.preview_every == 0:
            self.write()

    def write(self) -> None:
        """Writes the preview of the current step, unless it exists."""
        step = self._budget.step
        path = preview_path(self._run, step)
        if path.exists():
            return
        windows = self._probe.windows(self.model.ema_generator)
        audio = self._to_audio(windows).numpy()
        rate_hz = self._config.audio.sample_rate_hz
        secs = self._config.window_samples / rate_hz
        picture = pictures.grid(windows, secs, rate_hz)
        self._write_summary(step, picture, audio)
        path.parent.mkdir(exist_ok=True)
        write_atomically(path.with_suffix(".wav"), self._wav(audio))
        write_atomically(path, picture)
        _LOG.info("step %d  preview %s", step, path)

    def _write_summary(
        self, step: int, picture: bytes, audio: np.ndarray
    ) -> None:
        rate_hz = self._config.audio.sample_rate_hz
        image = tf.io.decode_png(picture, channels=3)
        with self._writer.as_default(step=step):
            tf.summary.image("windows", image[None])
            tf.summary.audio(
                "audio", audio[..., None], rate_hz, max_outputs=NUM_WINDOWS
            )

    def _wav(self, audio: np.ndarray) -> bytes:
        """All windows [B, N], one after the other."""
        file = io.BytesIO()
        rate_hz = self._config.audio.sample_rate_hz
        soundfile.write(file, audio.ravel(), rate_hz, format="WAV")
        return file.getvalue()

    def _remove_later(self) -> None:
        for path in preview_path(self._run, 0).parent.glob("step-*"):
            name = re.fullmatch(r"step-(\d{8,})", path.stem)
            if name and int(name[1]) > self._budget.step:
                path.unlink()
