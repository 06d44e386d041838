"""The errors that every command turns into one line and an exit code."""

import re

# Lines of a TensorFlow error that do not give its reason.
_NO_REASON = re.compile(
    r"\s|Graph execution error|Detected at node|Hint:"
    r"|\d+ (root|successful|derived)"
)


class ConfigError(ValueError):
    """A config that cannot be used; the message says how to fix it."""


class UserError(RuntimeError):
    """Data or a run that cannot be used; the message is for the user."""


class UsageError(ValueError):
    """A command line that cannot be used; the message is for the user."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its name if there is none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def tensorflow_reason(text: str) -> str:
    """The line of a TensorFlow error message that gives the reason.

    The node and its stack trace come before it, hints after it. If there are
    several errors, this is the first of the numbered list.
    """
    numbered = re.search(r"^\s*\(0\) (.+)", text, re.M)
    if numbered:
        return numbered[1]
    lines = [line for line in text.splitlines() if line.strip()]
    reasons = [line for line in lines if not _NO_REASON.match(line)]
    return (reasons or lines or ["TensorFlow failed"])[0]
