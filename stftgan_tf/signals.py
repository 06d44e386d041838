"""The signals that ask a program to end."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def handled_by(
    handler: Callable[[int, FrameType | None], None],
) -> Iterator[None]:
    """Calls `handler` on SIGINT and SIGTERM during the block.

    Raises:
      ValueError: outside of the main thread, where Python handles no signals.
    """
    previous = [signal.signal(number, handler) for number in _NUMBERS]
    try:
        yield
    finally:
        for number, old in zip(_NUMBERS, previous, strict=True):
            signal.signal(number, old)
