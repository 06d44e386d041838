"""What to do about each failed check of the blessing.

The advice depends on the history of the training. A recall that is too low
needs more steps while the Frechet distance still falls, and a wider network or
more varied recordings once it does not.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stftgan_tf.config import Config
from stftgan_tf.errors import UserError
from stftgan_tf.evaluation.blessing import WORSE_THAN_LAST, Check
from stftgan_tf.metrics import registry
from stftgan_tf.training import metrics_log

# Two measurements of an equally good generator differ by a few percent; a
# smaller relative change of the Frechet distance counts as none.
_NOISE = 0.06

# A trend is that of the last part of the training, as long as this share.
_TREND_SHARE = 1 / 3

# Fewer evaluation windows than this make the limits themselves uncertain.
_FEW_WINDOWS = 100

# A shorter training than this share of `train.steps` needs far more steps.
_EARLY_SHARE = 0.1

# Durations that a remedy suggests.
_MINUTES = (2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 360, 480, 720)


@dataclasses.dataclass(frozen=True)
class History:
    """What is known about the training of an export.

    Attributes:
      step: the exported step.
      secs: duration of the training up to that step, 0 if unknown.
      frechet: (step, Frechet distance) of the watch's measurements, up to the
        end of the training; empty if unknown.
    """

    step: int
    secs: float = 0.0
    frechet: tuple[tuple[int, float], ...] = ()

    @property
    def last_step(self) -> int:
        """The last step of the training, as far as it is known."""
        return max([self.step, *(step for step, _ in self.frechet)])


def read_history(metadata: dict[str, Any], run: Path | None) -> History:
    """The history of an export.

    Args:
      metadata: of the export.
      run: directory of its run; None if unknown.

    Raises:
      UserError: if the run has no metrics.
    """
    rows = metrics_log.rows(run) if run else []
    if run and not rows:
        raise UserError(f"{run} contains no metrics of a training")
    points = [
        (int(row["step"]), values["frechet"])
        for row in rows
        if "frechet" in (values := registry.from_watch_row(row))
    ]
    secs = metadata.get("train_secs", 0.0)
    return History(metadata["step"], secs, tuple(points))


def remedies(
    checks: Sequence[Check],
    metrics: dict[str, Any],
    config: Config,
    history: History,
) -> list[str]:
    """One sentence of advice for each failed check, in their order.

    Args:
      checks: all checks of the evaluation.
      metrics: its metrics.
      config: of the export.
      history: of its training.
    """
    return [
        _remedy(check, metrics, config, history)
        for check in checks
        if not check.passed
    ]


def _remedy(
    check: Check, metrics: dict[str, Any], config: Config, history: History
) -> str:
    if check.figure == "memorised":
        return _against_copies(config, history)
    if real := _data_problem(check, metrics):
        return real
    training = _about_training(config, history)
    if training:
        return training
    if check.failing == WORSE_THAN_LAST:
        return (
            "The version that is served is better: train as long as for that "
            "one, or allow more with bless.max_worse"
        )
    return _SPECIFIC.get(check.figure, _flat)(config, history)


def _against_copies(config: Config, history: History) -> str:
    augment = "" if config.augment.target else ", set augment.target=0.6"
    return (
        f"After {history.step:,} steps the generator has memorised training "
        f"windows: add recordings{augment}, or train for fewer steps"
    )


def _data_problem(check: Check, metrics: dict[str, Any]) -> str:
    """Advice if the real windows, not the generator, decide the check."""
    real = metrics["real"]
    if check.figure == "label_recognised" and real["label_recognised"] < 0.5:
        return (
            "The classifier recognises only "
            f"{100 * real['label_recognised']:.0f} % of the real windows: "
            "check the labels with python -m pipeline.validate"
        )
    count = real.get("windows", _FEW_WINDOWS)
    if count < _FEW_WINDOWS and check.figure in ("recall", "coverage", "ndb"):
        return (
            f"The evaluation split has only {count} windows, which makes this "
            "limit uncertain: hold out more recordings (split.eval_fraction) "
            "or add some"
        )
    return ""


def _about_training(config: Config, history: History) -> str:
    """Advice if the training was too short or went wrong, otherwise empty."""
    points = history.frechet
    longer = longer_flag(config, history)
    if len(points) < 2:
        if history.last_step >= config.train.steps:
            return (
                f"All {config.train.steps:,} steps of the config are done, and "
                "their trend is unknown: train longer, for instance "
                f"{longer}"
            )
        return (
            f"The training ended after {history.last_step:,} of the config's "
            f"{config.train.steps:,} steps: train longer, for instance {longer}"
        )
    start, first = _start_of_trend(points)
    end, last = points[-1]
    change = f"({first:.3g} -> {last:.3g} over the last {end - start:,} steps)"
    if last < (1 - _NOISE) * first:
        return (
            f"Frechet was still falling {change}: train longer, for instance "
            f"{longer}"
        )
    lowest_step, lowest = min(points, key=lambda point: point[1])
    if last > (1 + 2 * _NOISE) * lowest:
        return (
            f"Frechet was lowest at step {lowest_step:,} ({lowest:.3g}) and "
            f"then rose to {last:.3g}: train again with smaller learning rates "
            "(train.generator_lr, train.critic_lr)"
        )
    return ""


def _start_of_trend(points: Sequence[tuple[int, float]]) -> tuple[int, float]:
    """The last measurement before the final third of the training."""
    end = points[-1][0]
    earlier = [p for p in points[:-1] if p[0] <= (1 - _TREND_SHARE) * end]
    return earlier[-1] if earlier else points[0]


def longer_flag(config: Config, history: History) -> str:
    """The flag of a longer training, such as `--minutes 30`."""
    done, planned = history.last_step, config.train.steps
    factor = 4 if done < _EARLY_SHARE * planned else 2
    if not history.secs or factor * done > planned:
        return f"--steps {max(planned, _round_up(factor * done))}"
    # Up to the last step; the export may be of an earlier one.
    minutes = factor * history.secs * done / max(1, history.step) / 60
    longest = _MINUTES[-1]
    return f"--minutes {next((m for m in _MINUTES if m >= minutes), longest)}"


def _round_up(steps: int) -> int:
    """To two significant digits and to whole hundreds."""
    unit = max(100, 10 ** (len(str(steps)) - 2))
    return -(-steps // unit) * unit


def _flat(config: Config, history: History) -> str:
    """Advice for a training that has stopped improving."""
    since = f" since step {step:,}" if (step := _flat_since(history)) else ""
    width = config.model.generator.width
    return (
        f"The figures have been flat{since}: use a wider network "
        f"(model.generator.width={2 * width}) or more varied recordings"
    )


def _flat_since(history: History) -> int:
    """The first step whose Frechet distance is close to the lowest; or 0."""
    if not history.frechet:
        return 0
    lowest = min(value for _, value in history.frechet)
    return next(s for s, v in history.frechet if v <= (1 + _NOISE) * lowest)


def _collapse(config: Config, history: History) -> str:
    loss = config.train.loss
    if loss != "rpgan-r1r2":
        return f"Windows repeat: use train.loss=rpgan-r1r2 instead of {loss}"
    if config.model.condition == "none":
        return "Windows repeat: use model.condition=cluster"
    return (
        "Windows repeat: use smaller learning rates (train.generator_lr, "
        "train.critic_lr) or a larger train.penalty_weight"
    )


def _labels(config: Config, history: History) -> str:
    return (
        "The classifier recognises real windows, but not these: check the "
        "labels with python -m pipeline.validate, then train with a wider "
        f"network (model.generator.width={2 * config.model.generator.width})"
    )


_SPECIFIC = {
    "diversity_ratio": _collapse,
    "nearest_self": _collapse,
    "label_recognised": _labels,
}
