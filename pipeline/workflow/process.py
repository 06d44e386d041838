"""Runs one command of this project as a child process."""

import codecs
import contextlib
import ctypes
import dataclasses
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from stftgan_tf import signals

# From Linux' sys/prctl.h.
_PR_SET_PDEATHSIG = 1

# How `stftgan_tf.cli` starts an error message.
_ERROR = b"error: "

# Flags whose values must not appear in records and messages.
_SECRET = re.compile(
    "secret|password|token|access_key|credential|connection_string", re.I
)


@dataclasses.dataclass(frozen=True)
class Result:
    """How a command ended.

    Attributes:
      code: its exit code.
      lines: the lines that it printed to stdout.
      error: why it failed: its error message, or its exit code.
    """

    code: int
    lines: list[str]
    error: str


def run(
    command: list[str],
    environment: Mapping[str, str] | None = None,
    hidden: str | None = None,
) -> Result:
    """Runs `python -m COMMAND`; its output appears as it is printed.

    Its error message is not shown but returned, so that the caller can say
    which step failed and why in one line.

    Args:
      command: the words after `python -m`.
      environment: variables to set.
      hidden: lines of stdout that begin with this are returned and not shown.

    Raises:
      KeyboardInterrupt: if there was a signal.
    """
    # On a terminal the child draws its progress line on a terminal too.
    reader, writer = pty.openpty() if sys.stderr.isatty() else os.pipe()
    relay = _ErrorRelay(reader)
    lines = []
    try:
        with running(
            command, environment, stdout=subprocess.PIPE, stderr=writer
        ) as child:
            os.close(writer)
            relay.start()
            for line in child.stdout:
                if hidden is None or not line.startswith(hidden):
                    print(line, end="", flush=True)
                lines.append(line.rstrip("\n"))
            child.wait()
    finally:
        message = relay.finish()
    words = shlex.join(without_secrets(command))
    reason = f"{_ending(child.returncode)}: python -m {words}"
    return Result(child.returncode, lines, message or reason)


def _ending(code: int) -> str:
    """What an exit code says, if the command printed no message."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
        often = ", often because memory ran out" if name == "SIGKILL" else ""
        return f"killed by {name}{often}"
    return f"killed by signal {-code}"


def without_secrets(command: list[str]) -> list[str]:
    """A command in which the values of secret flags are replaced by "..."."""
    words, hide_next = [], False
    for word in command:
        flag, equals, _ = word.partition("=")
        secret = flag.startswith("-") and _SECRET.search(flag)
        if hide_next:
            words.append("...")
        else:
            words.append(f"{flag}=..." if secret and equals else word)
        hide_next = bool(secret and not equals)
    return words


class _ErrorRelay(threading.Thread):
    """Copies a child's stderr to ours, except for its error message."""

    def __init__(self, reader: int):
        super().__init__(daemon=True)
        self._reader, self._message = reader, b""
        utf8 = codecs.getincrementaldecoder("utf-8")
        self._decode = utf8("backslashreplace").decode

    def run(self) -> None:
        """Copies until the child has closed its end."""
        while chunk := self._read():
            *lines, last = (self._message + chunk).splitlines(keepends=True)
            self._message = b""
            if last.startswith(_ERROR):
                # Shown after all if it was not the last line.
                self._message = last
            else:
                lines.append(last)
            sys.stderr.write(self._decode(b"".join(lines)))
            sys.stderr.flush()

    def _read(self) -> bytes:
        try:
            return os.read(self._reader, 1 << 16)
        except OSError:
            # How a pseudo-terminal reports the end.
            return b""

    def finish(self) -> str:
        """Waits for the end of the output; returns the error message."""
        if self.is_alive():
            # A process that the child left behind may keep it open.
            self.join(2.0)
        if not self.is_alive():
            os.close(self._reader)
        return self._message[len(_ERROR) :].decode(errors="replace").strip()


@contextlib.contextmanager
def running(
    command: list[str],
    environment: Mapping[str, str] | None = None,
    **kwargs: Any,
) -> Iterator[subprocess.Popen]:
    """Starts `python -m COMMAND` and forwards SIGINT and SIGTERM to it.

    A training then saves a checkpoint and ends; a second signal kills it. The
    command runs in a new session because a terminal would otherwise send it
    the first signal twice.

    Raises:
      KeyboardInterrupt: at the end, if there was a signal.
    """
    received = []

    def forward(number: int, _: Any) -> None:
        received.append(number)
        child.send_signal(number if len(received) == 1 else signal.SIGKILL)

    child = subprocess.Popen(
        [sys.executable, "-m", *command],
        preexec_fn=_die_with_parent,
        start_new_session=True,
        text=True,
        errors="backslashreplace",
        # Lines appear in the order in which they are printed.
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        **kwargs,
    )
    with signals.handled_by(forward):
        yield child
    if received:
        raise KeyboardInterrupt


def _die_with_parent() -> None:
    """Kills the child when this process is killed, so that locks are freed."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
