"""Reports losses and speed: log lines, metrics.jsonl and TensorBoard."""

import logging
import time
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from stftgan_tf.config import Config
from stftgan_tf.progress import clock
from stftgan_tf.training import metrics_log
from stftgan_tf.training.budget import Budget
from stftgan_tf.training.finite import check_finite

_LOG = logging.getLogger(__name__)


class Reporter(keras.callbacks.Callback):
    """Reports every `train.log_every` steps.

    Workers other than the chief only log. Raises UserError out of the training
    if a value is not finite.
    """

    def __init__(
        self,
        run: Path,
        config: Config,
        budget: Budget,
        writer: tf.summary.SummaryWriter | None,
    ):
        """Removes rows of metrics.jsonl that this training will repeat.

        Args:
          run: directory of the run.
          config: of the run.
          budget: provides the step and the time.
          writer: for TensorBoard; None on a worker that writes no files.
        """
        super().__init__()
        self._run = run
        self._config, self._budget, self._writer = config, budget, writer
        self._last_report = time.monotonic(), budget.step
        if writer:
            metrics_log.drop_rows_after(run, budget.step)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Reports if it is time to."""
        if self._budget.step % self._config.train.log_every == 0:
            self._report(logs)

    def add(self, metrics: dict[str, float]) -> None:
        """Writes metrics of the current step to all files."""
        if not self._writer:
            return
        step, secs = self._budget.step, round(self._budget.secs, 3)
        metrics_log.append(self._run, {"step": step, "secs": secs, **metrics})
        with self._writer.as_default(step=step):
            for name, value in metrics.items():
                tf.summary.scalar(name, value)

    def _report(self, logs: dict[str, Any]) -> None:
        check_finite(self.model)
        metrics = {name: float(value) for name, value in logs.items()}
        self.model.reset_metrics()
        metrics["windows_per_sec"] = self._windows_per_sec()
        step, secs = self._budget.step, self._budget.secs
        self.add(metrics)
        augment = ""
        if self._config.augment.target:
            augment = f"  augment {metrics['augment_p']:.2f}"
        _LOG.info(
            "step %d  %s  %.0f windows/s  critic %+.3f  generator %+.3f  "
            "penalty %.4f%s  ETA %s",
            step,
            clock(secs),
            metrics["windows_per_sec"],
            metrics["critic_loss"],
            metrics["generator_loss"],
            metrics["penalty"],
            augment,
            clock(self._budget.remaining_secs()),
        )

    def _windows_per_sec(self) -> float:
        """Real windows per second since the last report."""
        train = self._config.train
        then, step = self._last_report
        self._last_report = now, _ = time.monotonic(), self._budget.step
        windows = train.batch_size * train.critic_steps
        return (self._budget.step - step) * windows / (now - then)
