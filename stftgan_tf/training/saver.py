"""Saves checkpoints during training."""

import logging
from pathlib import Path
from typing import Any

import keras

from stftgan_tf.config import Config
from stftgan_tf.training import checkpoints
from stftgan_tf.training.budget import Budget
from stftgan_tf.training.finite import check_finite
from stftgan_tf.training.state import State
from stftgan_tf.training.watch import Watch

_LOG = logging.getLogger(__name__)


class Saver(keras.callbacks.Callback):
    """Saves every `train.checkpoint_every` steps, and after the best watch."""

    def __init__(self, run: Path, config: Config, budget: Budget, watch: Watch):
        """Nothing is saved for the step that the training starts from.

        Args:
          run: directory of the run.
          config: of the run.
          budget: provides the step and the time.
          watch: provides the state, and knows whether a step is the best.
        """
        super().__init__()
        self._directory = run / checkpoints.DIRECTORY
        self._config, self._budget, self._watch = config.train, budget, watch
        self._saved_step = budget.step

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves if it is time to, or the step is the best so far."""
        self.save_best()
        if self._budget.step % self._config.checkpoint_every == 0:
            self.save()

    def save(self) -> None:
        """Saves the current step, unless it has been saved.

        Raises:
          UserError: if a value is not finite; earlier checkpoints stay good.
        """
        step = self._budget.step
        if step == self._saved_step:
            return
        check_finite(self.model)
        keep = self._config.keep_checkpoints
        path = checkpoints.save(
            self._directory, self.model, self._state(), keep
        )
        self._saved_step = step
        _LOG.info("step %d  checkpoint %s", step, path)

    def save_best(self, last: bool = False) -> None:
        """Saves the current step if it was just measured as the best.

        Args:
          last: whether it is the last step of the training.

        Raises:
          UserError: if a value is not finite; earlier checkpoints stay good.
        """
        if not self._watch.is_best:
            return
        check_finite(self.model)
        path = checkpoints.save_best(
            self._directory, self.model, self._state(), last
        )
        self._watch.is_best = False
        _LOG.info("step %d  checkpoint %s", self._budget.step, path)

    def _state(self) -> State:
        budget = self._budget
        return State(budget.step, budget.secs, self._watch.state)
