"""Signals, logging and memory settings of a server process."""

import contextlib
import ctypes
import gc
import logging
import os
import resource
import threading
from collections.abc import Callable, Iterator

from stftgan_tf import signals

# From glibc's malloc.h.
_M_ARENA_MAX = -8


@contextlib.contextmanager
def wait_for_signal() -> Iterator[Callable[[], int]]:
    """Yields a function that waits for SIGINT or SIGTERM.

    It returns the number of the signal. A second signal ends the process at
    once.
    """
    received: list[int] = []
    event = threading.Event()

    def handle(number, frame):
        if received:
            os._exit(130)
        received.append(number)
        event.set()

    def wait() -> int:
        event.wait()
        return received[0]

    with signals.handled_by(handle):
        yield wait


@contextlib.contextmanager
def log_to_stderr() -> Iterator[None]:
    """Writes the log of `stftgan_tf.serving` to stderr during the block."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s"))
    logger = logging.getLogger("stftgan_tf.serving")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)


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
