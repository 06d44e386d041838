"""The steps from recordings to shards, and the transforms that string them.

Beam moves names, never samples: recordings are planned as segments, segments
are grouped by shard, and one DoFn decodes, cuts and writes its shard.
"""

import collections
import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics

from pipeline import audio, storage
from pipeline.progress import Ticks
from pipeline.scanner import Scanner
from pipeline.sources import Recording
from pipeline.statistics import PartialMoments
from stftgan_tf import example_io, features
from stftgan_tf.config import Config

# What one DoFn call decodes at most; longer recordings are planned as several
# segments, so that memory is flat in their length.
SEGMENT_SECS = 60.0

# A shard's size, roughly, and how many there are at least where there are
# windows enough: shards are read interleaved.
SHARD_BYTES = 64 << 20
MIN_TRAIN_SHARDS = 4

# What the job hands back to the driver.
SUMMARY = ".summary.json"


@dataclasses.dataclass(frozen=True)
class Segment:
    """A stretch of a recording that holds some of its windows.

    Attributes:
      recording: which one.
      split: `train` or `eval`.
      key: SHA-256 that decides the shard and the order within it.
      first_window: index of its first window within the recording.
      windows: how many it holds.
      start: first sample at the target rate; negative inside the padding.
      channel: of the recording, where `audio.channels` is `split`.
      gain: the recording's one gain.
      rms: of the recording, before the gain.
    """

    recording: Recording
    split: str
    key: str
    first_window: int
    windows: int
    start: int
    channel: int
    gain: float
    rms: float


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


def split_of(recording: Recording, config: Config) -> str:
    """`train` or `eval`, by hash of the speaker or the recording."""
    split = config.split
    if split.by == "regex":
        held_out = re.search(split.eval_regex, recording.name)
        return "eval" if held_out else "train"
    who = recording.speaker if split.by == "speaker" else ""
    identity = f"speaker {who}" if who else f"recording {recording.name}"
    # Not the data set's name: a folder that is renamed keeps its split.
    share = int(_sha256(identity)[:13], 16) / 16**13
    return "eval" if share < split.eval_fraction else "train"


def plan(
    recording: Recording,
    config: Config,
    scan: Callable[[str], list[audio.Scan | None]],
) -> list[Segment]:
    """The segments of a recording, whole windows each.

    Args:
      recording: which one.
      config: of the data set.
      scan: `audio.scan`, or what stands in for it.

    Raises:
      AudioError: if the recording cannot be used.
    """
    found = scan(recording.path)
    # Channels of one recording stay on one side.
    split, segments = split_of(recording, config), []
    for channel, seen in enumerate(found):
        name = f"{recording.name}#{channel}" if len(found) > 1 else None
        part = dataclasses.replace(recording, name=name or recording.name)
        if seen:
            segments += _segments(part, split, channel, seen, config)
    return segments


def _segments(
    recording: Recording,
    split: str,
    channel: int,
    found: audio.Scan,
    config: Config,
) -> Iterator[Segment]:
    if found.samples < config.stft.frame_length:
        raise audio.AudioError(
            f"short: {found.samples} samples; expected at least one frame, "
            f"{config.stft.frame_length}"
        )
    windows, offset = window_grid(found.samples, config)
    stride = config.stride_samples
    each = int(SEGMENT_SECS * config.audio.sample_rate_hz / stride)
    each = max(1, each)
    for first in range(0, windows, each):
        yield Segment(
            recording=recording,
            split=split,
            key=_sha256(recording.dataset, recording.name, str(first)),
            first_window=first,
            windows=min(each, windows - first),
            start=found.start + first * stride - offset,
            channel=channel,
            gain=audio.gain(found, config.audio),
            rms=found.rms,
        )


def window_grid(samples: int, config: Config) -> tuple[int, int]:
    """How many windows a recording has, and where the first one starts.

    Returns:
      (count, offset): window i covers the samples from i * stride - offset.
      The grid is centred on the recording.
    """
    size, stride = config.window_samples, config.stride_samples
    strides = max(0, samples - size) / stride
    rounded = np.ceil(strides) if config.window.tail == "pad" else strides + 0.5
    count = 1 + int(rounded)
    covered = size + (count - 1) * stride
    return count, (covered - samples) // 2


@dataclasses.dataclass(frozen=True)
class Cut:
    """The windows of a segment.

    Attributes:
      windows: W float32 [T, F] of log-magnitudes, or [T, F, 2] with
        instantaneous frequencies.
      audible: bool [W], false for a window `silence_db` below its recording.
      frames: float32 [T', F], the log-magnitudes that windows are cut from.
      times: int [T'], how many audible windows hold each frame.
    """

    windows: list[np.ndarray]
    audible: np.ndarray
    frames: np.ndarray
    times: np.ndarray


def cut(segment: Segment, config: Config) -> Cut:
    """Decodes a segment and cuts it into windows.

    Raises:
      AudioError: if the recording cannot be decoded any more.
    """
    size, stride = config.window_samples, config.stride_samples
    stop = segment.start + (segment.windows - 1) * stride + size
    samples = audio.read(
        segment.recording.path,
        segment.start,
        stop,
        config.audio,
        segment.channel,
    )
    samples *= np.float32(segment.gain)
    frames = features.log_spectrogram(samples, config)
    audible = _audible(samples, segment, config)
    windows, times = [], np.zeros(len(frames), np.int64)
    for index, heard in enumerate(audible):
        start = index * config.window.stride_frames
        part = slice(start, start + config.window.frames)
        window = frames[part]
        if config.window.phase:
            stfts = features.stft(samples[index * stride :][:size], config.stft)
            turned = features.instantaneous_frequency(stfts)
            window = np.stack([window, turned], axis=-1)
        windows.append(window)
        times[part] += heard
    return Cut(windows, audible, frames, times)


def _audible(
    samples: np.ndarray, segment: Segment, config: Config
) -> np.ndarray:
    """Whether each window [W] is loud enough."""
    size, stride = config.window_samples, config.stride_samples
    # Sums of squares of every window at once, of the pieces they share.
    piece = math.gcd(size, stride)
    squares = np.square(samples.reshape(-1, piece))
    energy = squares.sum(axis=1, dtype=np.float64).cumsum()
    energy = np.concatenate([[0.0], energy])
    first = np.arange(segment.windows) * (stride // piece)
    power = (energy[first + size // piece] - energy[first]) / size
    level = segment.rms * segment.gain
    threshold = level**2 * 10 ** (-config.window.silence_db / 10)
    return power >= threshold


def records(segment: Segment, found: Cut, config: Config) -> Iterator[bytes]:
    """The audible windows of a segment as encoded records."""
    recording = segment.recording
    for i in np.flatnonzero(found.audible):
        yield example_io.encode(
            {
                "window": found.windows[i],
                "window_index": segment.first_window + int(i),
                "label": recording.label,
                "sample_rate_hz": config.audio.sample_rate_hz,
                "recording_id": _bytes(recording.name),
                "speaker": _bytes(recording.speaker),
                "dataset": _bytes(recording.dataset),
            }
        )


def shard_count(split_windows: tuple[str, int], config: Config) -> int:
    """How many shards a split with so many windows has."""
    split, windows = split_windows
    size = windows * int(np.prod(config.record_shape)) * 4
    least = MIN_TRAIN_SHARDS if split == "train" else 1
    return min(windows, max(least, -(-size // SHARD_BYTES)))


@dataclasses.dataclass(frozen=True)
class Job:
    """What every worker is told.

    Attributes:
      config: of the data set.
      root: folder that its files are written to.
      ticks: counts progress.
      storage_options: of `storage.use_options`.
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
        storage.use_options(self._job.storage_options)
        self._scanner = Scanner(self._config.audio)

    def teardown(self):
        self._scanner.close()

    def process(self, recording: Recording):
        try:
            segments = plan(recording, self._config, self._scanner.scan)
        except audio.AudioError as error:
            self._dead.inc()
            yield _letter(recording, error)
        else:
            self._job.ticks.add("segments", len(segments))
            yield from segments
        self._job.ticks.add("planned", 1)


class _WriteShard(beam.DoFn):
    def __init__(self, job: Job):
        self._job, self._config = job, job.config
        self._windows = Metrics.counter("preprocess", "windows")
        self._silent = Metrics.counter("preprocess", "silent_windows")

    def setup(self):
        storage.use_options(self._job.storage_options)

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
        with storage.create(storage.join(self._job.root, name)) as file:
            writer = example_io.ShardWriter(file)
            for segment, found in _cut_ahead(ordered, self._config):
                try:
                    self._write(segment, found.result(), writer, result)
                except audio.AudioError as error:
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
        found: Cut,
        writer: example_io.ShardWriter,
        result: ShardResult,
    ) -> None:
        for record in records(segment, found, self._config):
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
            moments = PartialMoments.of(frames, self._config, times)
            result.moments = result.moments.merge(moments)


def _cut_ahead(
    segments: list[Segment], config: Config
) -> Iterator[tuple[Segment, Future]]:
    """Segments and what `cut` makes of them, cut while others are written."""
    pending = collections.deque()
    with ThreadPoolExecutor(1) as thread:
        for segment in segments:
            pending.append((segment, thread.submit(cut, segment, config)))
            if len(pending) > 1:
                yield pending.popleft()
        yield from pending


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


def _letter(recording: Recording, error: audio.AudioError) -> str:
    """A dead letter as JSON: ASCII, whatever the recording's name is."""
    reason, _, detail = str(error).partition(": ")
    letter = {"path": recording.name, "reason": reason, "exception": detail}
    return json.dumps(letter)


def _write_summary(
    job: Job, shards: list[ShardResult], dead: list[str]
) -> None:
    """Merges in the order of the shards, so that every runner agrees."""
    storage.use_options(job.storage_options)
    shards = sorted(shards, key=lambda s: (s.split, s.index))
    moments = PartialMoments.empty(job.config.stft.bins)
    for shard in shards:
        moments = moments.merge(shard.moments)
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


def _bytes(text: str) -> bytes:
    # File names that are no UTF-8 come back as the bytes they were.
    return text.encode("utf-8", "surrogateescape")


def _sha256(*parts: str) -> str:
    return hashlib.sha256(b"\0".join(map(_bytes, parts))).hexdigest()
