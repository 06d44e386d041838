"""The DoFn that decodes, cuts and writes one shard."""

import contextlib
import dataclasses
import json
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics

from pipeline import remote, storage
from pipeline.audio.decoder_process import DecoderProcess
from pipeline.audio.errors import AudioError
from pipeline.beam import segments as segments_lib
from pipeline.beam import workers
from pipeline.beam.progress import Ticks
from pipeline.beam.segments import Segment, SegmentWindows
from pipeline.beam.statistics import PartialMoments
from pipeline.sources.recordings import Recording
from stftgan_tf.config import Config
from stftgan_tf.data import records

# Approximate size of a shard.
SHARD_BYTES = 64 << 20

# Shards are read interleaved, so there are several if there are enough windows.
MIN_TRAIN_SHARDS = 4


@dataclasses.dataclass(frozen=True)
class JobContext:
    """What every worker needs.

    Attributes:
      config: of the data set.
      root: directory that the data set is written to.
      ticks: progress counters.
      storage_options: for `remote.set_file_system_options`.
      sample: path of a local recording, which every worker must see; "" if
        there is none.
    """

    config: Config
    root: str
    ticks: Ticks
    storage_options: dict[str, Any]
    sample: str = ""

    def set_up_worker(self) -> None:
        """Configures this worker's file systems and checks its mounts.

        Raises:
          WorkerError: if it does not see the recordings or the data set.
        """
        remote.set_file_system_options(self.storage_options)
        workers.check_visible(filter(None, [self.sample, self.root]))


@dataclasses.dataclass
class ShardResult:
    """A shard that has been written.

    Attributes:
      split: `train` or `eval`.
      index: of the shard within its split.
      path: below the data set.
      records: number of records.
      bytes: size of the file.
      sha256: of the file, hexadecimal.
      silent: number of windows that were dropped.
      frames: number of frames in the windows, each counted once per segment.
      gains: number of channels by their gain, in dB, rounded to 0.1 dB.
      labels: number of windows of each label.
      speakers: number of windows of each speaker.
      dead_letters: unusable recordings, as `dead_letter` encodes them.
      moments: of the training windows.
    """

    split: str
    index: int
    path: str
    records: int
    bytes: int
    sha256: str
    silent: int
    frames: int
    gains: dict[float, int]
    labels: dict[int, int]
    speakers: dict[str, int]
    dead_letters: list[str]
    moments: PartialMoments


def shard_count(split_windows: tuple[str, int], config: Config) -> int:
    """The number of shards of a (split, number of windows)."""
    split, windows = split_windows
    size = windows * int(np.prod(config.window_shape)) * 4
    minimum = MIN_TRAIN_SHARDS if split == "train" else 1
    return min(windows, max(minimum, -(-size // SHARD_BYTES)))


def dead_letter(recording: Recording, error: AudioError) -> str:
    """An unusable recording as JSON, in ASCII whatever its name is."""
    reason, _, detail = str(error).partition(": ")
    letter = {"path": recording.id, "reason": reason, "exception": detail}
    return json.dumps(letter)


class WriteShard(beam.DoFn):
    """((split, index), segments) -> `ShardResult`; takes the shard counts."""

    def __init__(self, context: JobContext):
        self._context, self._config = context, context.config
        self._windows = Metrics.counter("preprocess", "windows")
        self._silent = Metrics.counter("preprocess", "silent_windows")
        self._dead_letters = Metrics.counter("preprocess", "dead_letters")

    def setup(self):
        """Starts what is used for many shards."""
        self._context.set_up_worker()
        self._decoder = DecoderProcess(self._config.audio)
        self._sync = storage.BackgroundSync()

    def finish_bundle(self):
        """Returns once the shards are on the disk."""
        self._decoder.release()
        with workers.errors_name_worker(self._context.root):
            self._sync.wait()

    def teardown(self):
        """Ends the decoder process."""
        self._decoder.close()

    def process(
        self,
        element: tuple[tuple[str, int], Iterable[Segment | None]],
        counts: dict[str, int],
    ):
        """Writes a shard, its segments in the order of their keys."""
        (split, index), segments = element
        result = self._empty_result(split, index, counts[split])
        ordered = sorted(filter(None, segments), key=lambda s: s.key)
        path = storage.join(self._context.root, result.path)
        # It is gone if the command that started the job has been killed.
        workers.check_visible([self._context.root])
        with (
            workers.errors_name_worker(path),
            storage.create(path, self._sync) as file,
        ):
            writer = records.ShardWriter(file)
            self._write_segments(ordered, writer, result)
        result.records, result.bytes = writer.records, writer.bytes
        result.sha256 = writer.sha256
        self._windows.inc(result.records)
        self._silent.inc(result.silent)
        yield result

    def _empty_result(self, split: str, index: int, count: int) -> ShardResult:
        return ShardResult(
            split=split,
            index=index,
            path=records.shard_name(split, index, count),
            records=0,
            bytes=0,
            sha256="",
            silent=0,
            frames=0,
            gains={},
            labels={},
            speakers={},
            dead_letters=[],
            moments=PartialMoments.empty(self._config.stft.bins),
        )

    def _write_segments(
        self,
        segments: list[Segment],
        writer: records.ShardWriter,
        result: ShardResult,
    ) -> None:
        requests = (segments_lib.request(s, self._config) for s in segments)
        with contextlib.closing(self._decoder.run_all(requests)) as decoded:
            for segment, samples in zip(segments, decoded, strict=True):
                try:
                    content = segments_lib.cut(segment, samples, self._config)
                    if content:
                        self._write(segment, content, writer, result)
                except AudioError as error:
                    self._dead_letters.inc()
                    letter = dead_letter(segment.recording, error)
                    result.dead_letters.append(letter)
                self._context.ticks.add("written", 1)

    def _write(
        self,
        segment: Segment,
        content: SegmentWindows,
        writer: records.ShardWriter,
        result: ShardResult,
    ) -> None:
        for record in segments_lib.encode(segment, content, self._config):
            writer.write(record)
        audible = int(content.audible.sum())
        result.silent += len(content.audible) - audible
        result.frames += int(np.count_nonzero(content.counts))
        if not segment.first_window:
            gain_db = round(content.gain_db, 1)
            result.gains[gain_db] = result.gains.get(gain_db, 0) + 1
        if not audible:
            return
        speaker, label = segment.recording.speaker, segment.recording.label
        result.labels[label] = result.labels.get(label, 0) + audible
        result.speakers[speaker] = result.speakers.get(speaker, 0) + audible
        if segment.split == "train":
            frames, counts = content.frames, content.counts
            in_window = counts > 0
            if not in_window.all():
                frames, counts = frames[in_window], counts[in_window]
            result.moments.add(frames, self._config, counts)
