"""Watches the variety of generated windows, and stops a collapsed training."""

import logging
import math
from typing import Any

import keras
import numpy as np

from stftgan_tf.config import Config
from stftgan_tf.errors import UserError
from stftgan_tf.metrics import registry
from stftgan_tf.training.budget import Budget
from stftgan_tf.training.finite import check_finite
from stftgan_tf.training.probe import Probe
from stftgan_tf.training.reporter import Reporter
from stftgan_tf.training.state import WatchState
from stftgan_tf.training.variety import VarietyMeter

_LOG = logging.getLogger(__name__)

# Frechet distances within this factor count as equal: in the second half of a
# training they vary by a few percent while the samples still improve.
_TIE = 1.03

# Scales of the latents that are tried.
_LATENT_SCALES = (1.0, 1.1, 1.2, 1.3)

# A step with a larger share of copied training windows is never the best.
_MAX_MEMORISED = 0.05


class Watch(keras.callbacks.Callback):
    """Measures windows of the same latents every `watch.every` steps.

    `watch.patience` measurements in a row whose variety is below
    `watch.min_variety` are a collapse, and each of them is an alarm. A training
    begins without variety, so until the first healthy measurement the log does
    not call it an alarm. A measurement is the best so far if its variety is
    not too low, few windows copy training windows, and no earlier one has a
    lower Frechet distance; a tie goes to the later step.

    Raises UserError out of the training if variety collapses or a value is
    not finite.

    Attributes:
      state: stored in checkpoints.
      is_best: whether the last measurement is the best so far and has not
        been saved yet.
    """

    def __init__(
        self,
        config: Config,
        budget: Budget,
        reporter: Reporter,
        meter: VarietyMeter,
        probe: Probe,
    ):
        """Starts with an empty state.

        Args:
          config: of the run.
          budget: provides the step.
          reporter: writes the metrics.
          meter: measures windows.
          probe: inputs of the generator, `watch.windows` of them.
        """
        super().__init__()
        self._config, self._budget = config.watch, budget
        self._reporter, self._meter, self._probe = reporter, meter, probe
        self.state = WatchState()
        self.is_best = False

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Measures if it is time to."""
        if self._budget.step % self._config.every == 0:
            self.measure()
            if self.state.alarms >= self._config.patience:
                self._react_to_collapse()

    def measure(self) -> None:
        """Measures the current step and reports it."""
        check_finite(self.model)
        windows = self._probe.windows(self.model.ema_generator)
        metrics = self._meter.measure(windows)
        metrics["latent_scale"] = self._latent_scale(metrics["frechet"])
        low = metrics["variety"] < self._config.min_variety
        self._update(metrics, low)
        self._reporter.add(registry.watch_row(metrics))
        self._log(metrics, low)

    def _latent_scale(self, frechet: float) -> float:
        """The scale of the latents with the lowest Frechet distance.

        The averaged generator maps latents of the width of the training to
        windows that vary less than the data. All scales have the same latents,
        so chance hardly affects the comparison, and a parabola fits well.

        Args:
          frechet: the distance without scaling.
        """
        distances = [frechet]
        for scale in _LATENT_SCALES[1:]:
            probe = self._probe.scaled(scale)
            windows = probe.windows(self.model.ema_generator)
            distances.append(self._meter.frechet(windows))
        curvature, slope, _ = np.polyfit(_LATENT_SCALES, distances, 2)
        if curvature <= 0:
            return _LATENT_SCALES[int(np.argmin(distances))]
        vertex = -slope / (2 * curvature)
        return float(np.clip(vertex, _LATENT_SCALES[0], _LATENT_SCALES[-1]))

    def _update(self, metrics: dict[str, float], low: bool) -> None:
        state = self.state
        state.step, state.metrics = self._budget.step, metrics
        state.alarms = state.alarms + 1 if low else 0
        lowest = state.best_frechet or math.inf
        copies = metrics["memorised"] > _MAX_MEMORISED
        close = metrics["frechet"] <= _TIE * lowest
        self.is_best = close and not (low or copies)
        if self.is_best:
            # The lowest of all, so that a series of ties cannot drift upwards.
            state.best_frechet = min(lowest, metrics["frechet"])

    def _log(self, metrics: dict[str, float], low: bool) -> None:
        state, patience = self.state, self._config.patience
        verdict = ""
        if self.is_best:
            verdict = "  best so far"
        elif low:
            # There is no best one until variety has built up.
            early = state.best_frechet is None and state.alarms < patience
            kind = "variety is still building up" if early else "ALARM"
            verdict = f"  {kind} {state.alarms}/{patience}"
        if metrics["memorised"] > _MAX_MEMORISED:
            verdict += (
                f"  ALARM {metrics['memorised']:.0%} copies of training "
                "windows: use more recordings, or stop earlier"
            )
        _LOG.info(
            "step %d  watch  %s%s",
            self._budget.step,
            registry.watch_line(metrics),
            verdict,
        )

    def _react_to_collapse(self) -> None:
        message = (
            f"variety collapsed: {self.state.alarms} measurements in a row "
            f"below {self._config.min_variety:g} of the data's variety, the "
            f"last at step {self._budget.step}"
        )
        if self._config.on_collapse == "warn":
            _LOG.warning("%s (watch.on_collapse is warn)", message)
            return
        raise UserError(
            f"{message}. Earlier checkpoints are kept and can be exported. "
            "Try train.loss rpgan-r1r2, model.condition cluster or smaller "
            "learning rates in another --run"
        )
