"""A progress line with a rate and an estimate of the remaining time."""

import sys
import time


# Not tqdm, which redraws with carriage returns in a pipe too, nor rich, which
# prints nothing there until the end: both make a log file unreadable.
class Progress:
    """A line on stderr that reports the progress of long work.

    On a terminal the line is redrawn. In a pipe or a file a new line is
    printed every 10 seconds.
    """

    def __init__(self, name: str, total: int, unit: str):
        self._name, self._total, self._unit = name, total, unit
        self._start = time.monotonic()
        self._tty = sys.stderr.isatty()
        self._interval = 0.2 if self._tty else 10.0
        self._next = self._start + self._interval

    def update(self, done: int) -> None:
        """Reports that `done` of the total are done, if a line is due."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._interval
        rate = done / (now - self._start)
        left = (self._total - done) / rate if rate else float("inf")
        self._print(
            f"{self._name}: {done}/{self._total} {self._unit}, "
            f"{rate:{'.2g' if rate < 10 else '.0f'}}/s, ETA {clock(left)}",
            end="" if self._tty else "\n",
        )

    def close(self, done: int) -> None:
        """Prints the last line, with the total time."""
        secs = time.monotonic() - self._start
        self._print(f"{self._name}: {done} {self._unit} in {secs:.1f} s", "\n")

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
