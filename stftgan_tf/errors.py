"""The errors that every command turns into one line and an exit code."""

import re

# Lines of a TensorFlow error that do not give its reason.
_NO_REASON = re.compile(
    r"\s|Graph execution error|Detected at node|Hint:"
    r"|\d+ (root|successful|derived)"
)


class ConfigError(ValueError):
    """A configuration that cannot be used; the message says how to fix it."""


class UserError(RuntimeError):
    """Data or a run that cannot be used; the message is for the user."""


class UsageError(ValueError):
    """A command line that cannot be followed; the message is for the user."""


def first_line(error: BaseException) -> str:
    """What an error says first; its name where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def tensorflow_reason(text: str) -> str:
    """The line of an error of TensorFlow's that says what is wrong.

    Before it come the node and its stack, after it hints; of several errors
    the first is numbered.
    """
    numbered = re.search(r"^\s*\(0\) (.+)", text, re.M)
    if numbered:
        return numbered[1]
    lines = [line for line in text.splitlines() if line.strip()]
    told = [line for line in lines if not _NO_REASON.match(line)]
    return (told or lines or ["TensorFlow failed"])[0]
