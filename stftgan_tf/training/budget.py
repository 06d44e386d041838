"""Counts steps and time, and ends the training at its limits."""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import keras

from stftgan_tf import signals
from stftgan_tf.training.limits import Limits

_LOG = logging.getLogger(__name__)

INTERRUPTED = "interrupted"
TIME_LIMIT = "time limit reached"


class Budget(keras.callbacks.Callback):
    """Counts steps and seconds, and stops the training at its limits.

    Attributes:
      step: generator updates so far, including those before a resume.
      stop_reason: `INTERRUPTED`, `TIME_LIMIT`, or None.
    """

    def __init__(self, step: int, secs: float, limits: Limits):
        """Starts the clock.

        Args:
          step: generator updates before this session.
          secs: seconds trained before this session.
          limits: totals at which the training ends.
        """
        super().__init__()
        self.step, self._limits = step, limits
        self._first_step, self._first_secs = step, secs
        self._start = time.monotonic()
        self.stop_reason: str | None = None

    @property
    def secs(self) -> float:
        """Seconds trained so far, including those before a resume."""
        return self._first_secs + time.monotonic() - self._start

    @property
    def interrupted(self) -> bool:
        """Whether a signal stopped the training."""
        return self.stop_reason == INTERRUPTED

    def stop(self, reason: str) -> None:
        """Ends the training after the current step."""
        self.stop_reason = reason
        if self.model is not None:
            self.model.stop_training = True

    def remaining_secs(self) -> float:
        """Estimated seconds to the first limit; infinite before any step."""
        secs, steps = self.secs, self.step - self._first_step
        remaining = float("inf")
        if steps:
            secs_per_step = (secs - self._first_secs) / steps
            remaining = (self._limits.steps - self.step) * secs_per_step
        if self._limits.minutes is not None:
            remaining = min(remaining, 60 * self._limits.minutes - secs)
        return max(0.0, remaining)

    def on_train_begin(self, logs: Any = None) -> None:
        """Stops at once if a signal arrived before the first step."""
        if self.stop_reason:
            self.model.stop_training = True

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Counts steps; `batch` is the last one of an execution of several."""
        self.step = self._first_step + batch + 1
        minutes = self._limits.minutes
        late = minutes is not None and self.secs >= 60 * minutes
        if late and not self.stop_reason:
            self.stop(TIME_LIMIT)


@contextlib.contextmanager
def stopped_by_signals(budget: Budget) -> Iterator[None]:
    """The first signal ends the training after its step, the second at once.

    Outside of the main thread Python cannot handle signals, so nothing
    changes there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number, frame):
        if budget.interrupted:
            raise KeyboardInterrupt
        _LOG.info("stopping after this step; press Ctrl-C again to stop now")
        budget.stop(INTERRUPTED)

    with signals.handled_by(stop):
        yield
