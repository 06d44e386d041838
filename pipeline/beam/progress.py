"""How far a local job is: files that workers append to and the driver reads.

Beam's own counters reach a local driver only when the job is over.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from stftgan_tf.progress import Progress


class Ticks:
    """Counters in a folder, one byte a count, for any number of processes."""

    def __init__(self, folder: str | None):
        """With no folder (workers on other machines) nothing is counted."""
        self._folder = folder

    def add(self, name: str, count: int) -> None:
        """Counts; appending this little is atomic."""
        if self._folder is None:
            return
        with open(Path(self._folder, name), "ab", buffering=0) as file:
            file.write(b"." * count)

    def read(self, name: str) -> int:
        """What all processes counted so far."""
        try:
            return os.stat(Path(self._folder or "", name)).st_size
        except FileNotFoundError:
            return 0


@contextlib.contextmanager
def shown(ticks: Ticks, recordings: int) -> Iterator[None]:
    """Shows planning, then writing, on stderr while the block runs."""
    over = threading.Event()
    thread = threading.Thread(
        target=_show, args=(ticks, recordings, over), daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _show(ticks: Ticks, recordings: int, over: threading.Event) -> None:
    progress = Progress("plan", recordings, "recordings")
    while (planned := ticks.read("planned")) < recordings:
        if over.wait(0.2):
            return
        progress.update(planned)
    progress.close(planned)
    segments = ticks.read("segments")
    progress = Progress("write", segments, "segments")
    while not over.wait(0.2):
        progress.update(ticks.read("written"))
    progress.close(ticks.read("written"))
