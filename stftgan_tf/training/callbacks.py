"""The callbacks of a training, in the order in which they run."""

import dataclasses
from collections.abc import Iterator

import keras

from stftgan_tf.training.budget import Budget
from stftgan_tf.training.preview import Preview
from stftgan_tf.training.reporter import Reporter
from stftgan_tf.training.saver import Saver
from stftgan_tf.training.watch import Watch


@dataclasses.dataclass(frozen=True)
class Callbacks:
    """What runs after each step.

    Attributes:
      budget: counts steps, so it comes first.
      reporter: writes losses and metrics.
      watch: measures variety.
      preview, saver: write files; None on a worker that is not the chief.
    """

    budget: Budget
    reporter: Reporter
    watch: Watch
    preview: Preview | None = None
    saver: Saver | None = None

    def __iter__(self) -> Iterator[keras.callbacks.Callback]:
        for field in dataclasses.fields(self):
            callback = getattr(self, field.name)
            if callback is not None:
                yield callback
