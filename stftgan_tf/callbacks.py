"""What happens around the training steps: reports, previews, checkpoints."""

import contextlib
import io
import json
import logging
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import soundfile
import tensorflow as tf

from stftgan_tf import checkpoints, cli, features, metrics, phase, pictures
from stftgan_tf import wgan as wgan_lib
from stftgan_tf.config import Config

_LOG = logging.getLogger(__name__)

# Windows that a picture and a preview's audio show, and that its variety is
# measured on.
_SHOWN = 16
MEASURED = 256


class Bounds(keras.callbacks.Callback):
    """Counts steps and seconds in all, and ends the training in time.

    Attributes:
      step: generator updates so far, those before a resume included.
      stopped_by: why the training ends early, or None.
    """

    def __init__(
        self, step: int, secs: float, steps: int, minutes: float | None
    ):
        super().__init__()
        self.step, self._steps = step, steps
        self._secs, self._minutes = secs, minutes
        self._start = time.monotonic()
        self._first_step, self._first_secs = step, secs
        self.stopped_by: str | None = None

    @property
    def secs(self) -> float:
        """Seconds trained so far, those before a resume included."""
        return self._secs + time.monotonic() - self._start

    def stop(self, reason: str) -> None:
        """Ends the training after the step that runs."""
        self.stopped_by = reason
        if self.model is not None:
            self.model.stop_training = True

    def eta_secs(self) -> float:
        """Seconds to whichever bound comes first."""
        secs, steps = self.secs, self.step - self._first_step
        left = float("inf")
        if steps:
            a_step = (secs - self._first_secs) / steps
            left = (self._steps - self.step) * a_step
        if self._minutes is not None:
            left = min(left, 60 * self._minutes - secs)
        return max(0.0, left)

    def on_train_begin(self, logs: Any = None) -> None:
        """Stops at once where a signal came before the first step."""
        if self.stopped_by:
            self.model.stop_training = True

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Counts the step."""
        self.step += 1
        if self._minutes is not None and self.secs >= 60 * self._minutes:
            self.stop(f"{self._minutes:g} minutes are over")


class Report(keras.callbacks.Callback):
    """Progress line, `metrics.jsonl` and TensorBoard, every `log_every`.

    Raises:
      UserError: out of the training, if a value was not finite.
    """

    def __init__(
        self,
        run: Path,
        config: Config,
        bounds: Bounds,
        writer: tf.summary.SummaryWriter,
    ):
        super().__init__()
        self._path = run / "metrics.jsonl"
        self._config, self._bounds, self._writer = config, bounds, writer
        self._mark = time.monotonic(), bounds.step
        self._drop_rows_after(bounds.step)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Reports if it is time to."""
        if self._bounds.step % self._config.train.log_every == 0:
            self._report(logs)

    def _report(self, logs: dict[str, Any]) -> None:
        check_finite(self.model)
        values = {name: float(value) for name, value in logs.items()}
        self.model.reset_metrics()
        values["windows_per_sec"] = self._rate()
        step, secs = self._bounds.step, self._bounds.secs
        row = {"step": step, "secs": round(secs, 3), **values}
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        _LOG.info(
            "step %d  %s  %.0f windows/s  critic %+.3f  generator %+.3f  "
            "penalty %.4f  ETA %s",
            step,
            cli.clock(secs),
            values["windows_per_sec"],
            values["critic_loss"],
            values["generator_loss"],
            values["gradient_penalty"],
            cli.clock(self._bounds.eta_secs()),
        )

    def _drop_rows_after(self, step: int) -> None:
        """What was logged after the checkpoint that training resumes from.

        Those steps are done again. A row that a kill cut short goes too.
        """
        if not self._path.exists():
            return
        kept = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
        cli.write_atomically(self._path, "".join(kept).encode())

    def _rate(self) -> float:
        """Real windows a second since the last report."""
        train = self._config.train
        then, step = self._mark
        self._mark = now, _ = time.monotonic(), self._bounds.step
        windows = train.batch_size * train.critic_steps
        return (self._bounds.step - step) * windows / (now - then)


class Preview(keras.callbacks.Callback):
    """Picture, audio and variety of the same latents as training goes on."""

    def __init__(
        self,
        run: Path,
        config: Config,
        bounds: Bounds,
        writer: tf.summary.SummaryWriter,
        moments: features.Moments,
        real: np.ndarray,
    ):
        """`real` are windows [B, T, F] to compare the variety with."""
        super().__init__()
        self._folder = run / "samples"
        self._config, self._bounds, self._writer = config, bounds, writer
        self._moments, self._real = moments, real
        self._latents = wgan_lib.latents(
            MEASURED, config.model.latent_dim, config.train.seed
        )
        self._to_audio = tf.function(self._audio)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Previews if it is time to."""
        if self._bounds.step % self._config.train.preview_every == 0:
            self.show()

    def show(self) -> None:
        """Writes the preview of the current step."""
        step = self._bounds.step
        path = self._folder / f"step-{step:08d}.png"
        if path.exists():
            return
        windows = self.model.ema_generator.predict(
            self._latents, batch_size=64, verbose=0
        )
        variety = metrics.diversity_ratio(windows, self._real)
        audio = self._to_audio(windows[:_SHOWN]).numpy()
        rate_hz = self._config.audio.sample_rate_hz
        picture = pictures.grid(windows[:_SHOWN])
        with self._writer.as_default(step=step):
            image = tf.io.decode_png(picture, channels=3)
            tf.summary.image("windows", image[None])
            tf.summary.audio("audio", audio[..., None], rate_hz, max_outputs=4)
            tf.summary.scalar("diversity_ratio", variety)
        wav = io.BytesIO()
        soundfile.write(wav, audio.ravel(), rate_hz, format="WAV")
        self._folder.mkdir(exist_ok=True)
        cli.write_atomically(path.with_suffix(".wav"), wav.getvalue())
        cli.write_atomically(path, picture)
        _LOG.info(
            "step %d  variety %.2f of the data's  %s", step, variety, path
        )

    def _audio(self, windows: tf.Tensor) -> tf.Tensor:
        return phase.audio_of(windows, self._moments, self._config)


class Checkpoints(keras.callbacks.Callback):
    """A checkpoint every `checkpoint_every` steps."""

    def __init__(self, run: Path, config: Config, bounds: Bounds):
        super().__init__()
        self._folder = run / "checkpoints"
        self._config, self._bounds = config.train, bounds
        self._saved = bounds.step

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves if it is time to."""
        if self._bounds.step % self._config.checkpoint_every == 0:
            self.save()

    def save(self) -> None:
        """Saves the current step, once.

        Raises:
          UserError: if a value was not finite; what is saved stays good.
        """
        step, secs = self._bounds.step, self._bounds.secs
        if step == self._saved:
            return
        check_finite(self.model)
        keep = self._config.keep_checkpoints
        path = checkpoints.save(self._folder, self.model, step, secs, keep)
        self._saved = step
        _LOG.info("step %d  checkpoint %s", step, path)


def check_finite(model: wgan_lib.WGAN) -> None:
    """Raises UserError with the step of the first value not finite."""
    bad = int(model.first_bad_step)
    if bad >= 0:
        raise cli.UserError(
            f"a loss or gradient was not finite at step {bad}; checkpoints "
            "from before it are kept: try a smaller train.generator_lr and "
            "train.critic_lr"
        )
