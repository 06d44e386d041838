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
        self._admitted = threading.BoundedSemaphore(max_running + max_waiting)
        self._running = threading.BoundedSemaphore(max_running)

    @contextlib.contextmanager
    def slot(self) -> Iterator[None]:
        """Waits until the request may run, and runs the block.

        Raises:
          RequestError: UNAVAILABLE, if too many requests are waiting.
        """
        if not self._admitted.acquire(blocking=False):
            raise RequestError(
                grpc.StatusCode.UNAVAILABLE,
                "too many requests are waiting; try again later",
            )
        try:
            with self._running:
                yield
        finally:
            self._admitted.release()
