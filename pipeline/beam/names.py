"""The names of the recordings, in a file that the workers read.

They are not part of the job's graph: runners limit its size (Flink takes 100
MB), and it is built and sent by one process.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator

import apache_beam as beam

from pipeline import remote, storage
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


class ReadRecordings(beam.PTransform):
    """`Part`s -> recordings, spread over the workers."""

    def __init__(self, context: JobContext):
        super().__init__()
        self._context = context

    def expand(self, parts):
        """Builds the transform."""
        return (
            parts
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(_Read(self._context))
        )


class _Read(beam.DoFn):
    """Part -> its recordings."""

    def __init__(self, context: JobContext):
        self._context = context

    def setup(self):
        remote.set_file_system_options(self._context.storage_options)

    def process(self, part: Part) -> Iterable[Recording]:
        path = storage.join(self._context.root, RECORDINGS)
        with storage.open_input(path) as file:
            file.seek(part.start)
            data = file.read(part.size)
        for line in data.splitlines():
            yield Recording(*json.loads(line))
