"""What happens around the training steps: reports, watch, checkpoints."""

import contextlib
import io
import json
import logging
import math
import re
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import soundfile
import tensorflow as tf

from stftgan_tf import pictures
from stftgan_tf.config import Config
from stftgan_tf.dsp import features, phase
from stftgan_tf.errors import UserError
from stftgan_tf.files import write_atomically
from stftgan_tf.metrics import distances as metrics
from stftgan_tf.metrics import embedding
from stftgan_tf.models import wgan
from stftgan_tf.progress import clock
from stftgan_tf.training import checkpoints

_METRICS = "metrics.jsonl"
_LOG = logging.getLogger(__name__)

# Windows that a picture and a preview's audio show.
SHOWN = 16

# Frechet distances that are equal for a watch: after half of a training they
# wander by some percent, while what is generated still becomes better.
_TIE = 1.03

# Share of copied training windows above which nothing is the best.
_COPIES = 0.05

# Of what a watch finds, what its line tells besides, and how it is called.
_TOLD = {
    "diversity_ratio": "diversity",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "nearest_self": "|D|self",
    "nearest_train": "|D|train",
    "memorised": "memorised",
    "consistency": "consistency",
}

# Generated windows made at a time.
_BATCH = 64


class Budget(keras.callbacks.Callback):
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
        self._fit_from = step
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

    def go_back(self) -> None:
        """Takes the time that a step needs from the current one on."""
        self._first_step, self._first_secs = self.step, self.secs

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
        self._fit_from = self.step
        if self.stopped_by:
            self.model.stop_training = True

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Counts the steps; with several in one execution, all of them."""
        self.step = self._fit_from + batch + 1
        late = self._minutes is not None and self.secs >= 60 * self._minutes
        if late and not self.stopped_by:
            self.stop(f"{self._minutes:g} minutes are over")


class Report(keras.callbacks.Callback):
    """Progress line, `metrics.jsonl` and TensorBoard, every `log_every`.

    A worker that is not the chief writes nothing but its log.

    Raises:
      UserError: out of the training, if a value was not finite.
    """

    def __init__(
        self,
        run: Path,
        config: Config,
        bounds: Budget,
        writer: tf.summary.SummaryWriter | None,
    ):
        """`writer` is None where nothing is to be written."""
        super().__init__()
        self._path = run / _METRICS
        self._config, self._bounds, self._writer = config, bounds, writer
        self.go_back()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Reports if it is time to."""
        if self._bounds.step % self._config.train.log_every == 0:
            self._report(logs)

    def go_back(self) -> None:
        """Forgets what was reported after the current step."""
        self._mark = time.monotonic(), self._bounds.step
        if self._writer:
            self._drop_rows_after(self._bounds.step)

    def add(self, values: dict[str, float]) -> None:
        """Adds a row of figures to `metrics.jsonl` and TensorBoard."""
        if not self._writer:
            return
        step, secs = self._bounds.step, self._bounds.secs
        row = {"step": step, "secs": round(secs, 3), **values}
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def _report(self, logs: dict[str, Any]) -> None:
        check_finite(self.model)
        values = {name: float(value) for name, value in logs.items()}
        self.model.reset_metrics()
        values["windows_per_sec"] = self._rate()
        step, secs = self._bounds.step, self._bounds.secs
        self.add(values)
        _LOG.info(
            "step %d  %s  %.0f windows/s  critic %+.3f  generator %+.3f  "
            "penalty %.4f%s  ETA %s",
            step,
            clock(secs),
            values["windows_per_sec"],
            values["critic_loss"],
            values["generator_loss"],
            values["penalty"],
            f"  augment {values['augment_p']:.2f}"
            if self._config.augment.target
            else "",
            clock(self._bounds.eta_secs()),
        )

    def _drop_rows_after(self, step: int) -> None:
        """What was logged after the checkpoint that training resumes from.

        Those steps are done again. A row that a kill cut short goes too.
        """
        if not self._path.exists():
            return
        kept = [row for row in _rows(self._path) if row["step"] <= step]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        write_atomically(self._path, text.encode())

    def _rate(self) -> float:
        """Real windows a second since the last report."""
        train = self._config.train
        then, step = self._mark
        self._mark = now, _ = time.monotonic(), self._bounds.step
        windows = train.batch_size * train.critic_steps
        return (self._bounds.step - step) * windows / (now - then)


class Watch(keras.callbacks.Callback):
    """Measures the variety of the same latents as training goes on.

    Generated and real windows are compared in `embedding.Embedding`.
    `variety` is the smaller of two ratios of generated to real: of the mean
    distance between two windows, and of the mean distance to the nearest
    other one. The first falls when all windows become alike, the second when
    a few kinds are repeated; both are blind to how good the windows are,
    which `frechet` tells; of equals the later one is the best. What copies
    training windows, more than a twentieth of them, is never it.

    Attributes:
      state: `alarms` in a row, `rollbacks` made, `best_frechet`, and what was
        `seen` last, at which step.
      is_best: whether that was the best so far, and is not saved yet.
      collapsed: whether a collapse has just ended the fit.

    Raises:
      UserError: out of the training, if it collapses or a value was not
        finite.
    """

    def __init__(
        self,
        config: Config,
        bounds: Budget,
        report: Report,
        space: embedding.Embedding,
        training: np.ndarray,
        inputs: list[tf.Tensor],
    ):
        """Clusters the training windows and measures real variety.

        Args:
          config: of the run.
          bounds: knows the step.
          report: where figures go.
          space: where windows are compared.
          training: real windows [N, T, F].
          inputs: of the generator, for `watch.windows` windows.
        """
        super().__init__()
        self._config, self._bounds = config, bounds
        self._report, self._space, self._inputs = report, space, inputs
        vectors = space(training)
        clusters = min(config.watch.clusters, len(vectors))
        self._bins = metrics.BinTest(vectors, clusters, config.train.seed)
        self._training = vectors
        # As many as are generated, spread evenly.
        # (Equal windows have the same vectors but for rounding.)
        vectors = vectors[metrics.distinct(vectors.round(4))]
        if len(vectors) < 2:
            raise UserError("all training windows are equal")
        count = min(len(vectors), config.watch.windows)
        spread = np.linspace(0, len(vectors) - 1, count).astype(int)
        self._real = vectors[spread]
        self.state = {
            "alarms": 0,
            "rollbacks": 0,
            "best_frechet": None,
            "seen": {},
        }
        self.is_best = self.collapsed = False

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Watches if it is time to."""
        if self._bounds.step % self._config.watch.every == 0:
            self.look()
            if self.state["alarms"] >= self._config.watch.patience:
                self._collapse()

    def look(self) -> None:
        """Measures the current step and reports it."""
        check_finite(self.model)
        found = self.measure(self._windows())
        state = self.state
        alarm = found["variety"] < self._config.watch.min_variety
        state["alarms"] = state["alarms"] + 1 if alarm else 0
        lowest = state["best_frechet"] or math.inf
        state["seen"] = {"step": self._bounds.step, **found}
        copies = found["memorised"] > _COPIES
        near = found["frechet"] <= _TIE * lowest
        self.is_best = near and not (alarm or copies)
        if self.is_best:
            # The lowest of all, so that ties cannot creep upwards.
            state["best_frechet"] = min(lowest, found["frechet"])
        self._report.add(found)
        _LOG.info(
            "step %d  variety %.2f of the data's  NDB %d of %d  JS %.3f  %s  "
            "Frechet %.1f%s",
            self._bounds.step,
            found["variety"],
            found["ndb"],
            self._bins.clusters,
            found["jensen_shannon"],
            "  ".join(
                f"{said} {found[key]:.2f}" for key, said in _TOLD.items()
            ),
            found["frechet"],
            "  best so far"
            if self.is_best
            else f"  ALARM {state['alarms']}"
            if alarm
            else "",
        )

    def _windows(self) -> np.ndarray:
        # Not `predict`, which would divide the work among the workers.
        generator, count = self.model.ema_generator, self._config.watch.windows
        parts = [
            _generate(generator, [x[i : i + _BATCH] for x in self._inputs])
            for i in range(0, count, _BATCH)
        ]
        return np.concatenate(parts)

    def measure(self, windows: np.ndarray) -> dict[str, float]:
        """Figures of generated windows [B, T, F]."""
        vectors = self._space(windows)
        real, bins = self._real, self._bins.compare(vectors)
        density, coverage = metrics.density_and_coverage(vectors, real)
        precision, recall = metrics.precision_and_recall(vectors, real)
        near = metrics.neighbours(vectors, self._training)
        logs = self._space.log_mel.log_magnitude(windows)
        diversity = metrics.diversity_ratio(vectors, real)
        apart = metrics.nearest_ratio(vectors, real)
        return {
            "variety": min(diversity, apart),
            "diversity_ratio": diversity,
            "nearest_ratio": apart,
            "ndb": bins.different,
            "jensen_shannon": bins.jensen_shannon,
            "precision": precision,
            "recall": recall,
            "density": density,
            "coverage": coverage,
            "nearest_self": metrics.nearest_other(vectors),
            "nearest_train": near.to_train,
            "memorised": near.memorised,
            "consistency": metrics.consistency(logs, self._config.stft),
            "frechet": metrics.frechet_distance(vectors, real),
        }

    def _collapse(self) -> None:
        settings = self._config.watch
        what = (
            f"variety collapsed: {self.state['alarms']} watches in a row below "
            f"{settings.min_variety:g} of the data's, up to step "
            f"{self._bounds.step}"
        )
        if settings.on_collapse == "warn":
            _LOG.warning("%s (watch.on_collapse is warn)", what)
            return
        if (
            settings.on_collapse == "stop"
            or self.state["rollbacks"] >= settings.max_rollbacks
        ):
            raise UserError(
                f"{what}; rolled back {self.state['rollbacks']} times: try "
                "train.loss rpgan-r1r2, model.pac_size 2 or smaller rates in "
                "another --run"
            )
        _LOG.warning("%s", what)
        self.collapsed = True
        self.model.stop_training = True


def has_watched(run: Path, step: int) -> bool:
    """Whether the watch has told of a step."""
    rows = _rows(run / _METRICS)
    return any("frechet" in row and row["step"] == step for row in rows)


def _rows(path: Path) -> list[dict[str, float]]:
    """Of a `metrics.jsonl`, without what a kill cut short; none of none."""
    rows = []
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                rows.append(json.loads(line))
    return rows


def preview_path(run: Path, step: int) -> Path:
    """Where a run's picture of a step lies."""
    return run / "samples" / f"step-{step:08d}.png"


class Preview(keras.callbacks.Callback):
    """Picture and audio of the same latents as training goes on."""

    def __init__(
        self,
        run: Path,
        config: Config,
        bounds: Budget,
        writer: tf.summary.SummaryWriter,
        moments: features.Moments,
        inputs: list[tf.Tensor],
    ):
        """`inputs` are the generator's, for the windows that are shown."""
        super().__init__()
        self._run = run
        self._config, self._bounds, self._writer = config, bounds, writer
        self._moments, self._inputs = moments, inputs
        self._to_audio = tf.function(self._audio)
        self.go_back()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Previews if it is time to."""
        if self._bounds.step % self._config.train.preview_every == 0:
            self.show()

    def go_back(self) -> None:
        """Removes the previews after the current step."""
        for path in preview_path(self._run, 0).parent.glob("step-*"):
            found = re.fullmatch(r"step-(\d{8,})", path.stem)
            if found and int(found[1]) > self._bounds.step:
                path.unlink()

    def show(self) -> None:
        """Writes the preview of the current step."""
        step = self._bounds.step
        path = preview_path(self._run, step)
        if path.exists():
            return
        windows = _generate(self.model.ema_generator, self._inputs)
        audio = self._to_audio(windows).numpy()
        rate_hz = self._config.audio.sample_rate_hz
        picture = pictures.grid(windows)
        with self._writer.as_default(step=step):
            image = tf.io.decode_png(picture, channels=3)
            tf.summary.image("windows", image[None])
            tf.summary.audio("audio", audio[..., None], rate_hz, max_outputs=4)
        wav = io.BytesIO()
        soundfile.write(wav, audio.ravel(), rate_hz, format="WAV")
        path.parent.mkdir(exist_ok=True)
        write_atomically(path.with_suffix(".wav"), wav.getvalue())
        write_atomically(path, picture)
        _LOG.info("step %d  preview %s", step, path)

    def _audio(self, windows: tf.Tensor) -> tf.Tensor:
        return phase.audio_of(windows, self._moments, self._config)


class Checkpoints(keras.callbacks.Callback):
    """A checkpoint every `checkpoint_every` steps, and of the best watch."""

    def __init__(self, run: Path, config: Config, bounds: Budget, watch: Watch):
        super().__init__()
        self._folder = run / "checkpoints"
        self._config, self._bounds, self._watch = config.train, bounds, watch
        self._saved = bounds.step

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves if it is time to, or the watch has found the best so far."""
        if self._watch.collapsed:
            # Killed before it is rolled back, the training must see it again.
            return
        self.save_best()
        if self._bounds.step % self._config.checkpoint_every == 0:
            self.save()

    def save(self) -> None:
        """Saves the current step, once.

        Raises:
          UserError: if a value was not finite; what is saved stays good.
        """
        step = self._bounds.step
        if step == self._saved:
            return
        check_finite(self.model)
        keep = self._config.keep_checkpoints
        path = checkpoints.save(self._folder, self.model, self._state(), keep)
        self._saved = step
        _LOG.info("step %d  checkpoint %s", step, path)

    def save_best(self, last: bool = False) -> None:
        """Saves the current step if the watch has just found it the best.

        Args:
          last: whether it is the training's last.

        Raises:
          UserError: if a value was not finite; what is saved stays good.
        """
        if not self._watch.is_best:
            return
        check_finite(self.model)
        path = checkpoints.save_best(
            self._folder, self.model, self._state(), last
        )
        self._watch.is_best = False
        _LOG.info("step %d  checkpoint %s", self._bounds.step, path)

    def roll_back(self) -> None:
        """Goes back to the newest healthy checkpoint, in another way.

        The noise is other from here on, the learning rates are smaller.

        Raises:
          UserError: if there is no healthy checkpoint.
        """
        state = checkpoints.restore_healthy(self._folder, self.model)
        if state is None:
            raise UserError(
                "variety collapsed before any healthy checkpoint; try smaller "
                "train.generator_lr and train.critic_lr in another --run"
            )
        now = self._watch.state
        made = now["rollbacks"] + 1
        # The best one was healthy, and stays.
        kept = {"best_frechet": now["best_frechet"], "rollbacks": made}
        now |= state.watch | kept
        self._watch.collapsed = False
        self._bounds.step = state.step
        rates = self.model.go_another_way(made)
        self._saved = None
        self.save()
        _LOG.warning(
            "rolled back to step %d, rates %.3g and %.3g", state.step, *rates
        )

    def _state(self) -> checkpoints.State:
        return checkpoints.State(
            step=self._bounds.step,
            secs=self._bounds.secs,
            watch=dict(self._watch.state),
        )


def _generate(generator: keras.Model, inputs: list[tf.Tensor]) -> np.ndarray:
    """Windows [B, T, F] of latents, and labels where it has any."""
    inputs = inputs if len(inputs) > 1 else inputs[0]
    return generator(inputs, training=False).numpy()


def check_finite(model: wgan.WGAN) -> None:
    """Raises UserError with the step of the first value not finite."""
    bad = wgan.value_of(model.first_bad_step)
    if bad >= 0:
        raise UserError(
            f"a loss or gradient was not finite at step {bad}; checkpoints "
            "from before it are kept, and can be exported: try a smaller "
            "train.generator_lr and train.critic_lr in another --run"
        )
