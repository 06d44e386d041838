"""Signals, log lines and memory settings of a server process."""

import contextlib
import ctypes
import gc
import logging
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from stftgan_tf import signals

# From glibc's malloc.h.
_M_ARENA_MAX = -8


class StopSignal:
    """SIGINT or SIGTERM; a second one ends the process at once."""

    def __init__(self) -> None:
        self._number = 0
        self._event = threading.Event()

    def is_set(self) -> bool:
        """Whether the signal has arrived."""
        return self._event.is_set()

    def wait(self) -> int:
        """Waits for the signal, and returns its number."""
        self._event.wait()
        return self._number

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal, as Python calls it."""
        if self._number:
            os._exit(130)
        self._number = number
        self._event.set()


@contextlib.contextmanager
def wait_for_signal() -> Iterator[StopSignal]:
    """Yields the signal that asks the process to end."""
    stop = StopSignal()
    with signals.handled_by(stop.handle):
        yield stop


def exit_at_once(code: int) -> NoReturn:
    """Ends the process without waiting for its threads."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        # Nobody may read it any more.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


class RateLimit(logging.Filter):
    """Passes some warnings of each kind per minute, and drops the others.

    Lines of one kind differ in their values only. A client that causes a
    warning with every request must not fill the disk.
    """

    # Texts of other libraries may contain values, so kinds may be many.
    _MAX_KINDS = 1000

    def __init__(
        self,
        max_lines: int = 20,
        secs: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        super().__init__()
        self._max_lines, self._secs, self._clock = max_lines, secs, clock
        self._lock = threading.Lock()
        # When the time of each kind began, and how many lines came since.
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write a line; the last one says that more are dropped."""
        if record.levelno < logging.WARNING:
            return True
        kind = record.name, str(record.msg).partition("\n")[0]
        with self._lock:
            now = self._clock()
            start, count = self._kinds.get(kind, (now, 0))
            if now - start >= self._secs:
                start, count = now, 0
            if len(self._kinds) >= self._MAX_KINDS:
                self._kinds.clear()
            self._kinds[kind] = start, count + 1
        if count + 1 == self._max_lines:
            record.msg = (
                f"{record.getMessage()} (similar lines are left out for "
                f"{self._secs:g} s)"
            )
            record.args = ()
        return count < self._max_lines


@contextlib.contextmanager
def log_to_stderr() -> Iterator[None]:
    """Writes the log of the server and its libraries to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s"))
    handler.addFilter(RateLimit())
    logging.getLogger("stftgan_tf.serving").setLevel(logging.INFO)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def collect_garbage_rarely() -> None:
    """Keeps the garbage collector from examining all of TensorFlow again.

    A request of a few hundred thousand small lists would start it so often
    that parsing would take twenty times as long.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 10, 10)


def raise_file_limit() -> None:
    """Allows as many open connections as the system does.

    The usual soft limit is for programs that call select(), which we do not.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def limit_malloc_arenas() -> None:
    """Keeps memory usage constant while versions are loaded and unloaded.

    By default glibc uses many arenas, and memory that a version frees in one
    arena is not available to a version that loads in another.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)
