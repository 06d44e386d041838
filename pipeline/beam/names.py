"""The names of the recordings, in a file that the workers read.

They are not part of the job's graph: runners limit its size (Flink takes 100
MB), and it is built and sent by one process.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator

import apache_beam as beam

from pipeline import storage
from pipeline.beam.shards import JobContext
from pipeline.sources.recordings import Recording

# The file, in the data set's directory while the job runs.
RECORDINGS = ".recordings.jsonl"

# A part of the file is what a worker reads at a time. There are about this many
# parts, but none has more lines than this.
_PARTS = 1000
_MAX_LINES = 10_000

_FIELDS = [field.name for field in dataclasses.fields(Recording)]


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """Lines of the file: where they start, and their size in bytes."""

    start: int
    size: int


def write(root: str, recordings: list[Recording]) -> list[Part]:
    """Writes the file, one JSON array a line, below `root`; returns its parts.

    Raises:
      OSError: if it cannot be written.
    """
    lines = min(_MAX_LINES, -(-len(recordings) // _PARTS))
    parts: list[Part] = []

    def texts() -> Iterator[str]:
        start = 0
        for first in range(0, len(recordings), lines):
            text = "".join(map(_line, recordings[first : first + lines]))
            # JSON is ASCII here, so this is the number of bytes.
            parts.append(Part(start, len(text)))
            start += len(text)
            yield text

    storage.write_texts(storage.join(root, RECORDINGS), texts())
    return parts


def _line(recording: Recording) -> str:
    values = [getattr(recording, name) for name in _FIELDS]
    return f"{json.dumps(values)}\n"


class ReadRecordings(beam.DoFn):
    """Part -> its recordings."""

    def __init__(self, context: JobContext):
        self._context = context

    def setup(self):
        """Configures the file system."""
        self._context.set_up_worker()

    def process(self, part: Part) -> Iterable[Recording]:
        """Reads a part."""
        path = storage.join(self._context.root, RECORDINGS)
        with storage.open_input(path) as file:
            file.seek(part.start)
            data = file.read(part.size)
        for line in data.splitlines():
            yield Recording(*json.loads(line))
