"""Limits how many requests run and wait at the same time."""

import contextlib
import threading
from collections.abc import Iterator

import grpc

from stftgan_tf.serving.errors import RequestError


class RequestLimiter:
    """Admits a bounded number of requests and rejects the rest.

    Running more requests than there are cores is not faster, and the limits
    bound the memory that requests use.
    """

    def __init__(self, max_running: int, max_waiting: int):
        self._max_admitted = max_running + max_waiting
        self._running = threading.BoundedSemaphore(max_running)
        self._lock = threading.Lock()
        self._admitted = 0

    @property
    def is_idle(self) -> bool:
        """Whether no request runs or waits."""
        return self._admitted == 0

    @contextlib.contextmanager
    def slot(self) -> Iterator[None]:
        """Waits until the request may run, and runs the block.

        Raises:
          RequestError: UNAVAILABLE, if too many requests are waiting.
        """
        with self._lock:
            if self._admitted == self._max_admitted:
                raise RequestError(
                    grpc.StatusCode.UNAVAILABLE,
                    "too many requests are waiting; try again later",
                )
            self._admitted += 1
        try:
            with self._running:
                yield
        finally:
            with self._lock:
                self._admitted -= 1
