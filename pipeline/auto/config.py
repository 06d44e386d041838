"""Chooses the whole config for recordings from the facts of their survey.

Everything is chosen among the recipes that were measured (docs/results.md and
docs/lab/): frames of 32 ms every 8 ms, windows of 64 or 128 frames, and one
recipe of training.
"""

from typing import Any

from pipeline.auto import budget, holdout
from pipeline.auto import windows as windows_lib
from pipeline.auto.choice import Choice
from pipeline.auto.survey import Facts
from stftgan_tf.errors import UserError

# Fewer windows are not enough to train and to evaluate on.
_FEWEST_WINDOWS = 60


def choose_config(facts: Facts, minutes: float) -> list[Choice]:
    """The choices for recordings, in the order of the config.

    Args:
      facts: of the survey.
      minutes: of training.

    Raises:
      UserError: if there is too little to train and evaluate on.
    """
    rate = windows_lib.choose_rate(facts)
    rate_hz = rate.values["audio.sample_rate_hz"]
    windows = windows_lib.windows_of(facts, rate_hz)
    if windows.count < _FEWEST_WINDOWS:
        raise UserError(
            f"{facts.secs:.0f} s of recordings give about {windows.count} "
            f"windows of {windows.secs:.2f} s; expected at least "
            f"{_FEWEST_WINDOWS} to train and to evaluate on (to try the "
            "commands with less: --config tiny)"
        )
    split, held_out = holdout.choose_split(facts, windows.count)
    training = round(windows.count * (1 - held_out))
    return [
        rate,
        *_channels(facts),
        _labels(facts),
        _speakers(facts),
        windows_lib.choose_stft(facts, rate_hz),
        windows_lib.choose_window(facts, windows),
        windows_lib.choose_placement(facts, windows),
        split,
        budget.choose_networks(windows, training, minutes),
        budget.choose_condition(facts, training),
        budget.choose_recipe(),
        budget.choose_training(windows, training, minutes),
        *budget.choose_measures(training),
    ]


def _channels(facts: Facts) -> list[Choice]:
    if facts.cancelling_share < 0.1:
        return []
    why = f"in {facts.cancelling_share:.0%} of the recordings the channels "
    return [
        Choice(
            "channels",
            "the first",
            f"{why}cancel each other when averaged",
            {"audio.channels": "first"},
        )
    ]


def _name_values(facts: Facts) -> dict[str, Any]:
    """The keys that give labels and speakers."""
    values = facts.names.values()
    if holdout.is_cut(facts):
        # The manifest of the pieces has them in its columns.
        values = {k: "manifest" for k, v in values.items() if v != "none"}
        values.pop("name_regex", None)
        values = {"labels": "none", "speakers": "none"} | values
    return {f"audio.{key}": value for key, value in values.items()}


def _labels(facts: Facts) -> Choice:
    names = facts.names
    values = _name_values(facts)
    del values["audio.speakers"]
    if names.labels:
        count, shown = len(names.labels.values), _shown(names.labels.values)
        why = f"from {names.labels.reason}: {shown}"
        return Choice("labels", f"{count} labels", why, values)
    why = "no part of the names repeats the way labels do"
    if names.unclear:
        why = (
            f"{names.unclear} parts of the names repeat, and it is unclear "
            "which one is the label; set audio.name_regex"
        )
    return Choice("labels", "none", why, values)


def _speakers(facts: Facts) -> Choice:
    speakers = facts.names.speakers
    values = {"audio.speakers": _name_values(facts)["audio.speakers"]}
    if speakers:
        why = f"from {speakers.reason}: {_shown(speakers.values)}"
        summary = f"{len(speakers.values)} speakers"
        return Choice("speakers", summary, why, values)
    why = "neither folders nor names identify them"
    return Choice("speakers", "unknown", why, values)


def _shown(values: tuple[str, ...]) -> str:
    shown = ", ".join(values[:6])
    return shown if len(values) <= 6 else f"{shown}, ..."
