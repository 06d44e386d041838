"""Ends a training cleanly on Ctrl-C and SIGTERM."""

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator

from stftgan_tf.training.budget import INTERRUPTED, Budget

_LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def stopped_by_signals(budget: Budget) -> Iterator[None]:
    """The first signal ends the training after its step, the second at once.

    Outside of the main thread Python cannot handle signals, so nothing
    changes there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number, frame):
        if budget.interrupted:
            raise KeyboardInterrupt
        _LOG.info("stopping after this step; press Ctrl-C again to stop now")
        budget.stop(INTERRUPTED)

    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)
