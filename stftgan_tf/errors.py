"""Errors that every command reports as one line and an exit code."""

import functools
import re
from collections.abc import Callable
from typing import Any

# Import name of a package -> the extra in setup.py that installs it.
_EXTRAS = {
    "apache_beam": "pipeline",
    "soxr": "pipeline",
    "tensorflow_datasets": "pipeline",
    "tensorflow_metadata": "pipeline",
    "google_crc32c": "train",
    "jinja2": "train",
    "sklearn": "train",
    "tensorboard": "train",
    "threadpoolctl": "train",
    "grpc": "serving",
    "grpc_health": "serving",
    "orjson": "serving",
    "prometheus_client": "serving",
    "requests": "serving",
    "starlette": "serving",
    "tensorflow_serving": "serving",
    "uvicorn": "serving",
    "tensorflow_io": "io",
    "espeakng_loader": "demo",
}

# Lines of a TensorFlow error that do not explain it.
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


def counted(count: int, noun: str) -> str:
    """A number and a noun for a message: `1 file`, `1,200 files`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


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


def install_hint(error: ModuleNotFoundError) -> str | None:
    """Says what to install for a failed import; None if no extra helps."""
    package = (error.name or "").partition(".")[0]
    if package not in _EXTRAS:
        return None
    extra = _EXTRAS[package]
    return (
        f"{package} is not installed; install the extra {extra!r}: "
        f"pip install 'stftgan-tf[{extra}]', or pip install -e '.[{extra}]' in "
        "a checkout"
    )


def explain_missing_packages(
    function: Callable[..., Any],
) -> Callable[..., Any]:
    """Wraps a function so that its ImportError names the extra to install."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except ModuleNotFoundError as error:
            message = install_hint(error)
            if message is None:
                raise
            raise ImportError(message) from error

    return wrapper
