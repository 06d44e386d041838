"""Writes choices as a YAML file with reasons, and as a summary."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import yaml

from pipeline.auto.choice import Choice
from pipeline.auto.survey import Facts
from stftgan_tf import config as config_lib
from stftgan_tf.errors import counted

_HEADER = """\
# Chosen by --config auto: {recordings}.
# Edit this file and run the same command again, or delete it for a new survey.
# recordings: {fingerprint}
"""


def to_yaml(
    choices: Sequence[Choice], facts: Facts, fingerprint: str = ""
) -> str:
    """The choices as a config with a comment for each reason.

    Args:
      choices: in the order of the config.
      facts: of the survey.
      fingerprint: of the recordings.
    """
    text = _HEADER.format(
        recordings=recordings_line(facts), fingerprint=fingerprint
    )
    for section in _sections(choices):
        text += f"\n{section}:\n"
        for choice in choices:
            text += _entry(choice, section)
    return text


def fingerprint_in(text: str) -> str:
    """The fingerprint of the recordings that a file was made for, or ""."""
    match = re.search(r"^# recordings: (\w+)$", text, re.MULTILINE)
    return match[1] if match else ""


def with_overrides(
    choices: Sequence[Choice], overrides: Sequence[str]
) -> list[Choice]:
    """The choices, in which values given by `--set` replace others.

    Raises:
      ConfigError: if an override cannot be used.
    """
    if not overrides:
        return list(choices)
    values = nested(choices)
    before = config_lib.from_dict(values).to_dict()
    after = config_lib.from_dict(values, overrides).to_dict()
    changed = {
        key: new for key, _, new in config_lib.differences(before, after)
    }
    result = [
        dataclasses.replace(
            choice,
            values={k: v for k, v in choice.values.items() if k not in changed},
        )
        for choice in choices
    ]
    return [*result, Choice("given", "by --set", "by --set", changed)]


def nested(choices: Sequence[Choice]) -> dict[str, Any]:
    """The values of all choices by section and key."""
    result: dict[str, Any] = {}
    for choice in choices:
        for name, value in choice.values.items():
            *sections, key = name.split(".")
            inner = result
            for section in sections:
                inner = inner.setdefault(section, {})
            inner[key] = value
    return result


def summary(choices: Sequence[Choice], facts: Facts) -> list[str]:
    """The choices in about ten lines for the terminal."""
    lines = [f"{'recordings':12s} {recordings_line(facts)}"]
    for choice in choices:
        # The recipe is no choice: there is only one.
        if choice.topic != "recipe":
            text = f"{choice.summary} ({choice.reason})"
            lines.append(f"{choice.topic:12s} {text}")
    return lines


def recordings_line(facts: Facts) -> str:
    """How many recordings there are, how long they are and how they sound."""
    kind = {
        "words": "single words",
        "speech": "continuous speech",
        "texture": "steady sounds",
    }[facts.kind]
    low, median, high = facts.lengths_secs
    text = (
        f"{counted(facts.recordings, 'recording')} of {kind}, "
        f"{_duration(facts.secs)}"
    )
    if facts.recordings > 1:
        text += (
            f" in total, {low:.1f} to {high:.1f} s each (median {median:.1f})"
        )
    if facts.surveyed < facts.recordings:
        text += f", estimated from {facts.surveyed} of them"
    if facts.unusable:
        text += f"; {facts.unusable} of those are unusable"
    return text


def _duration(secs: float) -> str:
    if secs < 120:
        return f"{secs:.0f} s"
    if secs < 7200:
        return f"{secs / 60:.0f} minutes"
    return f"{secs / 3600:.1f} hours"


def _sections(choices: Sequence[Choice]) -> list[str]:
    """Names of the sections that the choices have, in their order."""
    names = [key.partition(".")[0] for c in choices for key in c.values]
    return list(dict.fromkeys(names))


def _entry(choice: Choice, section: str) -> str:
    """The lines of one choice in one section; empty if it has none there."""
    values = {
        key: value
        for key, value in choice.values.items()
        if key.startswith(f"{section}.")
    }
    if not values:
        return ""
    items = nested([dataclasses.replace(choice, values=values)])[section]
    lines = []
    for key, value in items.items():
        # Inner sections on one line: `critic: {width: 256}`.
        style = None if isinstance(value, dict) else False
        text = yaml.safe_dump(
            {key: value}, default_flow_style=style, width=1000
        )
        lines.append(text.strip())
    reason = " ".join(f"{choice.topic}: {choice.reason}".split())
    return "".join(f"  {line}\n" for line in (f"# {reason}", *lines))
