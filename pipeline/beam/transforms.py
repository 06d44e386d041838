"""The Beam transforms from recordings to shards.

Beam moves names, never samples: recordings are planned as segments, segments
are grouped by shard, and one DoFn decodes, cuts and writes its shard.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics

from pipeline import remote, storage
from pipeline.audio.errors import AudioError
from pipeline.audio.worker import DecoderProcess
from pipeline.beam import segments as segments_lib
from pipeline.beam.progress import Ticks
from pipeline.beam.segments import Segment
from pipeline.beam.statistics import PartialMoments
from pipeline.sources.recordings import Recording
from stftgan_tf.config import Config
from stftgan_tf.data import records as example_io

# A shard's size, roughly, and how many there are at least where there are
# windows enough: shards are read interleaved.
SHARD_BYTES = 64 << 20
MIN_TRAIN_SHARDS = 4

# What the job hands back to the driver.
SUMMARY = ".summary.json"


@dataclasses.dataclass
class ShardResult:
    """What is told about a shard once it is written."""

    split: str
    index: int
    path: str
    records: int
    bytes: int
    sha256: str
    silent: int
    labels: dict[int, int]
    speakers: dict[str, int]
    dead_letters: list[str]
    moments: PartialMoments


def shard_count(split_windows: tuple[str, int], config: Config) -> int:
    """How many shards a split with so many windows has."""
    split, windows = split_windows
    size = windows * int(np.prod(config.window_shape)) * 4
    least = MIN_TRAIN_SHARDS if split == "train" else 1
    return min(windows, max(least, -(-size // SHARD_BYTES)))


@dataclasses.dataclass(frozen=True)
class Job:
    """What every worker is told.

    Attributes:
      config: of the data set.
      root: folder that its files are written to.
      ticks: counts progress.
      storage_options: of `remote.set_file_system_options`.
    """

    config: Config
    root: str
    ticks: Ticks
    storage_options: dict[str, Any]


class PlanSegments(beam.PTransform):
    """Recordings -> (segments, dead letters)."""

    def __init__(self, job: Job):
        super().__init__()
        self._job = job

    def expand(self, recordings):
        """Builds the transform."""
        planned = (
            recordings
            | "Spread recordings" >> beam.Reshuffle()
            | "Plan" >> beam.ParDo(_Plan(self._job))
        )
        # By type: not every runner knows tagged outputs (Dask's does not).
        segments = beam.Filter(_is_segment).with_output_types(Segment)
        letters = beam.Filter(_is_letter).with_output_types(str)
        return (
            planned | "Segments" >> segments,
            planned | "Dead letters" >> letters,
        )


class WriteShards(beam.PTransform):
    """Segments -> `ShardResult`s."""

    def __init__(self, job: Job):
        super().__init__()
        self._job = job

    def expand(self, segments):
        """Builds the transform."""
        counts = (
            segments
            | "Windows" >> beam.Map(lambda s: (s.split, s.windows))
            | "Windows a split" >> beam.CombinePerKey(sum)
            | "Shards a split"
            >> beam.Map(_with_shard_count, config=self._job.config)
        )
        shards = beam.pvalue.AsDict(counts)
        placed = segments | "Place" >> beam.Map(_place, counts=shards)
        # Every shard is written, also one that no segment falls into.
        empty = counts | "Every shard" >> beam.FlatMap(_every_shard)
        return (
            (placed, empty)
            | "Both" >> beam.Flatten()
            | "By shard" >> beam.GroupByKey()
            | "Write" >> beam.ParDo(_WriteShard(self._job), shards)
        )


class WriteSummary(beam.PTransform):
    """Shard results and dead letters -> `SUMMARY` in the job's folder."""

    def __init__(self, job: Job):
        super().__init__()
        self._job = job

    def expand(self, inputs):
        """Builds the transform from (shards, dead letters)."""
        shards, dead = inputs
        return (
            shards.pipeline
            | "Once" >> beam.Create([self._job])
            | "Summarise"
            >> beam.Map(
                _write_summary,
                shards=beam.pvalue.AsList(shards),
                dead=beam.pvalue.AsList(dead),
            )
        )


class _Plan(beam.DoFn):
    def __init__(self, job: Job):
        self._job, self._config = job, job.config
        self._dead = Metrics.counter("preprocess", "dead_letters")

    def setup(self):
        remote.set_file_system_options(self._job.storage_options)
        self._decoder = DecoderProcess(self._config.audio)

    def finish_bundle(self):
        self._decoder.release()

    def teardown(self):
        self._decoder.close()

    def process(self, recording: Recording):
        try:
            found = segments_lib.plan(
                recording, self._config, self._decoder.run
            )
        except AudioError as error:
            self._dead.inc()
            yield _letter(recording, error)
        else:
            self._job.ticks.add("segments", len(found))
            yield from found
        self._job.ticks.add("planned", 1)


class _WriteShard(beam.DoFn):
    def __init__(self, job: Job):
        self._job, self._config = job, job.config
        self._windows = Metrics.counter("preprocess", "windows")
        self._silent = Metrics.counter("preprocess", "silent_windows")
        self._dead = Metrics.counter("preprocess", "dead_letters")

    def setup(self):
        remote.set_file_system_options(self._job.storage_options)
        self._decoder = DecoderProcess(self._config.audio)
        self._syncs = storage.BackgroundSync()

    def finish_bundle(self):
        self._decoder.release()
        # Only what is on the disk counts as written.
        self._syncs.wait()

    def teardown(self):
        self._decoder.close()

    def process(
        self,
        element: tuple[tuple[str, int], Iterable[Segment | None]],
        counts: dict[str, int],
    ):
        (split, index), segments = element
        name = example_io.shard_name(split, index, counts[split])
        result = ShardResult(
            split=split,
            index=index,
            path=name,
            records=0,
            bytes=0,
            sha256="",
            silent=0,
            labels={},
            speakers={},
            dead_letters=[],
            moments=PartialMoments.empty(self._config.stft.bins),
        )
        ordered = sorted(filter(None, segments), key=lambda s: s.key)
        path = storage.join(self._job.root, name)
        questions = (
            segments_lib.question(segment, self._config) for segment in ordered
        )
        with (
            storage.create(path, self._syncs) as file,
            contextlib.closing(self._decoder.run_all(questions)) as answers,
        ):
            writer = example_io.ShardWriter(file)
            for segment, answer in zip(ordered, answers, strict=True):
                try:
                    self._write(segment, answer, writer, result)
                except AudioError as error:
                    self._dead.inc()
                    letter = _letter(segment.recording, error)
                    result.dead_letters.append(letter)
                self._job.ticks.add("written", 1)
        result.records, result.bytes = writer.records, writer.bytes
        result.sha256 = writer.sha256
        self._windows.inc(result.records)
        self._silent.inc(result.silent)
        yield result

    def _write(
        self,
        segment: Segment,
        answer: Any,
        writer: example_io.ShardWriter,
        result: ShardResult,
    ) -> None:
        found = segments_lib.cut(segment, answer, self._config)
        if not found:
            return
        for record in segments_lib.records(segment, found, self._config):
            writer.write(record)
        kept = int(found.audible.sum())
        result.silent += len(found.audible) - kept
        if not kept:
            return
        who, label = segment.recording.speaker, segment.recording.label
        result.labels[label] = result.labels.get(label, 0) + kept
        result.speakers[who] = result.speakers.get(who, 0) + kept
        if segment.split == "train":
            held = found.times > 0
            frames, times = found.frames, found.times
            if not held.all():
                frames, times = frames[held], times[held]
            result.moments.add(frames, self._config, times)


def _with_shard_count(
    split_windows: tuple[str, int], config: Config
) -> tuple[str, int]:
    return split_windows[0], shard_count(split_windows, config)


def _place(
    segment: Segment, counts: dict[str, int]
) -> tuple[tuple[str, int], Segment]:
    """((split, shard), segment): the shard is the key's bucket."""
    return (
        segment.split,
        int(segment.key, 16) % counts[segment.split],
    ), segment


def _every_shard(split_count: tuple[str, int]):
    split, count = split_count
    return [((split, index), None) for index in range(count)]


def _letter(recording: Recording, error: AudioError) -> str:
    """A dead letter as JSON: ASCII, whatever the recording's name is."""
    reason, _, detail = str(error).partition(": ")
    letter = {"path": recording.name, "reason": reason, "exception": detail}
    return json.dumps(letter)


def _write_summary(
    job: Job, shards: list[ShardResult], dead: list[str]
) -> None:
    """Merges in the order of the shards, so that every runner agrees."""
    remote.set_file_system_options(job.storage_options)
    shards = sorted(shards, key=lambda s: (s.split, s.index))
    moments = PartialMoments.empty(job.config.stft.bins)
    for shard in shards:
        moments.merge(shard.moments)
        dead = dead + shard.dead_letters
    summary = {
        "shards": [_plain(shard) for shard in shards],
        "moments": moments.to_dict(),
        "clipped_share": moments.clipped_share(job.config),
        "histogram": moments.histogram.tolist(),
        # The segments of one lost recording say the same.
        "dead_letters": [json.loads(letter) for letter in sorted(set(dead))],
    }
    path = storage.join(job.root, SUMMARY)
    storage.write_text(path, json.dumps(summary))


def _plain(shard: ShardResult) -> dict[str, Any]:
    values = {f.name: getattr(shard, f.name) for f in dataclasses.fields(shard)}
    del values["moments"], values["dead_letters"]
    return values


def _is_segment(planned: Segment | str) -> bool:
    return isinstance(planned, Segment)


def _is_letter(planned: Segment | str) -> bool:
    return isinstance(planned, str)
