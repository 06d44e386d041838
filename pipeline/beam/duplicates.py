"""Finds recordings with the same content, so that each content is used once.

A copy would count twice, and its two names can be in different splits. Only
equal bytes are found: a copy with another title, or in another format, counts
as another recording.
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator

import apache_beam as beam

from pipeline import remote, storage
from pipeline.audio import tfds_records
from pipeline.beam.shards import JobContext
from pipeline.sources.recordings import Duplicate, Recording

# Number of bytes that are read at a time.
_BLOCK_BYTES = 1 << 20

# Files of the same size that agree in this many bytes at both ends are compared
# whole. So most long files are not read once more.
_END_BYTES = 1 << 16


class DropDuplicates(beam.PTransform):
    """Recordings -> (distinct recordings, `Duplicate`s).

    Of equal recordings the first by name is used.
    """

    def __init__(self, context: JobContext):
        super().__init__()
        self._context = context

    def expand(self, recordings):
        """Builds the transform."""
        both = (
            recordings
            | "Content" >> beam.ParDo(_Key(self._context))
            | "By content" >> beam.GroupByKey()
            | "Distinct" >> beam.ParDo(_Distinct(self._context))
        )
        # By type, because the Dask runner has no tagged outputs.
        recordings = beam.Filter(_is_recording).with_output_types(Recording)
        duplicates = beam.Filter(_is_duplicate).with_output_types(Duplicate)
        return both | "First" >> recordings, both | "Others" >> duplicates


class _FileDoFn(beam.DoFn):
    """A DoFn that may read remote files."""

    def __init__(self, context: JobContext):
        self._context = context

    def setup(self):
        self._context.set_up_worker()


class _Key(_FileDoFn):
    """Recording -> (key of its content, recording)."""

    def process(self, recording: Recording):
        yield content_key(recording), recording


class _Distinct(_FileDoFn):
    """(Key, recordings) -> the first recording of each content, duplicates."""

    def process(self, element: tuple[str, Iterable[Recording]]):
        for recording in distinct(element[1]):
            if isinstance(recording, Duplicate):
                self._context.ticks.add("planned", 1)
            yield recording


def content_key(recording: Recording) -> str:
    """A key that recordings with the same content share.

    A recording that cannot be read has its own key, so that it becomes a dead
    letter.
    """
    try:
        content = _summary(recording.path)
    # Each file system raises its own exceptions.
    except Exception:
        content = f"unreadable {recording.id}"
    key = f"{content} {recording.start_secs} {recording.end_secs}"
    return hashlib.sha256(os.fsencode(key)).hexdigest()


def distinct(
    recordings: Iterable[Recording],
) -> Iterator[Recording | Duplicate]:
    """The first recording of each content; the others as duplicates.

    Args:
      recordings: all with the same `content_key`.
    """
    ordered = sorted(recordings, key=lambda recording: recording.id)
    first_of: dict[str, Recording] = {}
    for recording in ordered:
        content = _whole(recording) if len(ordered) > 1 else ""
        first = first_of.setdefault(content, recording)
        if first is recording:
            yield recording
        else:
            has_other_label = recording.label != first.label
            yield Duplicate(recording.id, first.id, has_other_label)


def _summary(path: str) -> str:
    """Equal for equal content, and rarely for other content."""
    if tfds_records.is_record_path(path):
        return _record_digest(path)
    if storage.is_remote(path):
        return _remote_summary(path)
    status = os.stat(path)
    # Opening a FIFO could block forever.
    if not stat.S_ISREG(status.st_mode):
        raise OSError("not a regular file")
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read(_END_BYTES))
        file.seek(max(0, status.st_size - _END_BYTES))
        digest.update(file.read(_END_BYTES))
    return f"{status.st_size} {digest.hexdigest()}"


def _remote_summary(path: str) -> str:
    (match,) = remote.call("match", [path])
    (metadata,) = match.metadata_list
    return f"{metadata.size_in_bytes} {remote.call('checksum', path)}"


def _whole(recording: Recording) -> str:
    """A digest of the whole content."""
    path = recording.path
    try:
        if tfds_records.is_record_path(path):
            return _record_digest(path)
        with storage.open_input(path) as file:
            digest = hashlib.sha256()
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest()
    # Each file system raises its own exceptions.
    except Exception:
        return f"unreadable {recording.id}"


def _record_digest(path: str) -> str:
    record = tfds_records.read_record(path)
    if record.encoded is not None:
        return hashlib.sha256(record.encoded).hexdigest()
    samples = record.samples
    digest = hashlib.sha256(samples.tobytes()).hexdigest()
    return f"{samples.dtype} {samples.shape} {record.rate_hz} {digest}"


def _is_recording(element: Recording | Duplicate) -> bool:
    return isinstance(element, Recording)


def _is_duplicate(element: Recording | Duplicate) -> bool:
    return isinstance(element, Duplicate)
