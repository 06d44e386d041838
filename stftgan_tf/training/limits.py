"""When a training ends: after a number of steps or minutes."""

import dataclasses

from stftgan_tf.config import Config
from stftgan_tf.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Limits:
    """Totals that include everything trained before a resume.

    Attributes:
      steps: generator updates.
      minutes: wall-clock minutes of training, or None for no limit.
    """

    steps: int
    minutes: float | None = None

    def reached(self, step: int, secs: float) -> bool:
        """Whether a training of so many steps and seconds is complete."""
        late = self.minutes is not None and secs >= 60 * self.minutes
        return late or step >= self.steps


def limits_of(
    config: Config, steps: int | None = None, minutes: float | None = None
) -> Limits:
    """Checks the limits of a training.

    Args:
      config: gives the steps where `steps` is None.
      steps: generator updates in total.
      minutes: minutes in total.

    Raises:
      UsageError: if a limit is not positive or does not suit the config.
    """
    for name, value in (("steps", steps), ("minutes", minutes)):
        if value is not None and not value > 0:
            raise UsageError(f"{name} is {value}; expected above 0")
    train = config.train
    steps = steps or train.steps
    if steps % train.steps_per_execution:
        raise UsageError(
            f"steps is {steps}; expected a multiple of "
            f"train.steps_per_execution ({train.steps_per_execution})"
        )
    if minutes is not None and train.strategy == "multiworker":
        raise UsageError(
            "minutes cannot limit a training with several workers, because "
            "they would stop at different steps; use steps"
        )
    return Limits(steps, minutes)
