"""A progress line with a rate and an estimate of the time left."""

import sys
import time


class Progress:
    """A line on stderr that says how far a long piece of work is.

    On a terminal the line is redrawn; elsewhere it is printed now and then,
    so that a log stays readable.
    """

    def __init__(self, what: str, total: int, unit: str):
        self._what, self._total, self._unit = what, total, unit
        self._start = time.monotonic()
        self._tty = sys.stderr.isatty()
        self._pause = 0.2 if self._tty else 10.0
        self._next = self._start + self._pause

    def update(self, done: int) -> None:
        """Says that `done` of the total are done, if it is time to."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._pause
        rate = done / (now - self._start)
        left = (self._total - done) / rate if rate else float("inf")
        self._print(
            f"{self._what}: {done}/{self._total} {self._unit}, "
            f"{rate:{'.2g' if rate < 10 else '.0f'}}/s, ETA {clock(left)}",
            end="" if self._tty else "\n",
        )

    def close(self, done: int) -> None:
        """Prints the last line."""
        secs = time.monotonic() - self._start
        self._print(f"{self._what}: {done} {self._unit} in {secs:.1f} s", "\n")

    def _print(self, text: str, end: str) -> None:
        start = "\r\x1b[K" if self._tty else ""
        print(f"{start}{text}", end=end, file=sys.stderr, flush=True)


def clock(secs: float) -> str:
    """Seconds as H:MM:SS, or MM:SS under an hour."""
    if secs == float("inf"):
        return "--:--"
    minutes, seconds = divmod(int(secs), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{seconds:02d}"
    return f"{minutes:02d}:{seconds:02d}"
