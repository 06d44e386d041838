"""Progress of a local job: workers append to files, the driver reads them.

Beam's own counters reach a local driver only after the job has ended.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from stftgan_tf.progress import Progress


class Ticks:
    """Counters for any number of processes: one file each, one byte a count."""

    def __init__(self, directory: str | None):
        """Without a directory (remote workers) nothing is counted."""
        self._directory = directory

    def add(self, name: str, count: int) -> None:
        """Adds to a counter; appending so few bytes is atomic."""
        if self._directory is None:
            return
        with open(Path(self._directory, name), "ab", buffering=0) as file:
            file.write(b"." * count)

    def read(self, name: str) -> int:
        """The sum over all processes."""
        try:
            return os.stat(Path(self._directory or "", name)).st_size
        except FileNotFoundError:
            return 0


@contextlib.contextmanager
def shown(ticks: Ticks, recordings: int) -> Iterator[None]:
    """Shows planning, then writing, on stderr while the block runs."""
    end = threading.Event()
    thread = threading.Thread(
        target=_show, args=(ticks, recordings, end), daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _show(ticks: Ticks, recordings: int, end: threading.Event) -> None:
    progress = Progress("plan", recordings, "recordings")
    while (planned := ticks.read("planned")) < recordings:
        if end.wait(0.2):
            return
        progress.update(planned)
    progress.close(planned)
    segments = ticks.read("segments")
    progress = Progress("write", segments, "segments")
    while not end.wait(0.2):
        progress.update(ticks.read("written"))
    progress.close(ticks.read("written"))
