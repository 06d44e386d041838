"""The state of a training that a checkpoint stores beside the weights."""

import dataclasses
from typing import Any


@dataclasses.dataclass
class WatchState:
    """What the watch remembers.

    Attributes:
      alarms: measurements in a row whose variety was too low.
      best_frechet: lowest Frechet distance of a healthy measurement, or None.
      step: the step of the last measurement, or None.
      metrics: values of the last measurement by name.
    """

    alarms: int = 0
    best_frechet: float | None = None
    step: int | None = None
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class State:
    """How far a training is.

    Attributes:
      step: generator updates so far.
      secs: seconds trained so far.
      watch: of `watch.Watch`.
    """

    step: int = 0
    secs: float = 0.0
    watch: WatchState = dataclasses.field(default_factory=WatchState)

    @property
    def metrics(self) -> dict[str, float]:
        """The watch's metrics of this step; empty if it did not measure it."""
        return self.watch.metrics if self.watch.step == self.step else {}


def to_dict(state: State) -> dict[str, Any]:
    """The state as JSON values."""
    return dataclasses.asdict(state)


def from_dict(values: dict[str, Any]) -> State:
    """Reads what `to_dict` returned, also by earlier versions.

    Earlier versions stored step and metrics of the last measurement together
    under `seen`, and counted rollbacks, which no longer exist.

    Raises:
      KeyError, TypeError, ValueError: if values are missing or unknown.
    """
    watch = dict(values["watch"])
    watch.pop("rollbacks", None)
    if "seen" in watch:
        metrics = dict(watch.pop("seen"))
        watch["step"] = metrics.pop("step", None)
        watch["metrics"] = metrics
    state = State(int(values["step"]), float(values["secs"]))
    return dataclasses.replace(state, watch=WatchState(**watch))
