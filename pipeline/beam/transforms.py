"""The Beam transforms from recordings to shards.

Beam moves names, never samples: recordings are split into segments, segments
are grouped by shard, and one DoFn decodes, cuts and writes its shard.
"""

import collections
import dataclasses
import json
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from pipeline import remote, storage
from pipeline.audio.decoder_process import DecoderProcess
from pipeline.audio.errors import AudioError
from pipeline.beam import duplicates
from pipeline.beam import segments as segments_lib
from pipeline.beam.segments import Segment
from pipeline.beam.shards import (
    JobContext,
    ShardResult,
    WriteShard,
    dead_letter,
    shard_count,
)
from pipeline.beam.statistics import PartialMoments
from pipeline.sources.recordings import Duplicate, Recording

# The file in which the job returns its results to the driver.
SUMMARY = ".summary.json"


@dataclasses.dataclass(frozen=True)
class Note:
    """What is wrong with a recording and has been dealt with."""

    id: str
    text: str


class PlanSegments(beam.PTransform):
    """Recordings -> (segments, findings).

    A finding is a dead letter (JSON), a `Duplicate` or a `Note`.
    """

    def __init__(self, context: JobContext):
        super().__init__()
        self._context = context

    def expand(self, recordings):
        """Builds the transform."""
        drop = duplicates.DropDuplicates(self._context)
        distinct, copies = (
            recordings
            | "Spread recordings" >> beam.Reshuffle()
            | "Drop duplicates" >> drop
        )
        planned = distinct | "Plan" >> beam.ParDo(_Plan(self._context))
        # By type, because the Dask runner has no tagged outputs.
        segments = beam.Filter(_is_segment).with_output_types(Segment)
        findings = beam.Filter(_is_finding).with_output_types(Any)
        planned_findings = planned | "Letters and notes" >> findings
        return (
            planned | "Segments" >> segments,
            (planned_findings, copies) | "Findings" >> beam.Flatten(),
        )


class WriteShards(beam.PTransform):
    """Segments -> `ShardResult`s."""

    def __init__(self, context: JobContext):
        super().__init__()
        self._context = context

    def expand(self, segments):
        """Builds the transform."""
        counts = (
            segments
            | "Windows" >> beam.Map(lambda s: (s.split, s.windows))
            | "Windows per split" >> beam.CombinePerKey(sum)
            | "Shards per split"
            >> beam.Map(_with_shard_count, config=self._context.config)
        )
        shards = beam.pvalue.AsDict(counts)
        placed = segments | "Place" >> beam.Map(_place, counts=shards)
        # A shard without segments is written too.
        empty = counts | "Every shard" >> beam.FlatMap(_every_shard)
        return (
            (placed, empty)
            | "Both" >> beam.Flatten()
            | "By shard" >> beam.GroupByKey()
            | "Write" >> beam.ParDo(WriteShard(self._context), shards)
        )


class WriteSummary(beam.PTransform):
    """(Shard results, findings) -> the file `SUMMARY`."""

    def __init__(self, context: JobContext):
        super().__init__()
        self._context = context

    def expand(self, inputs):
        """Builds the transform."""
        shards, findings = inputs
        return (
            shards.pipeline
            | "Once" >> beam.Create([self._context])
            | "Summarise"
            >> beam.Map(
                _write_summary,
                shards=beam.pvalue.AsList(shards),
                findings=beam.pvalue.AsList(findings),
            )
        )


class _Plan(beam.DoFn):
    """Recording -> its segments and notes, or a dead letter."""

    def __init__(self, context: JobContext):
        self._context, self._config = context, context.config
        self._dead_letters = Metrics.counter("preprocess", "dead_letters")

    def setup(self):
        remote.set_file_system_options(self._context.storage_options)
        self._decoder = DecoderProcess(self._config.audio)

    def finish_bundle(self):
        self._decoder.release()

    def teardown(self):
        self._decoder.close()

    def process(self, recording: Recording):
        try:
            segments = segments_lib.plan(
                recording, self._config, self._decoder.run
            )
        except AudioError as error:
            self._dead_letters.inc()
            yield dead_letter(recording, error)
        else:
            self._context.ticks.add("segments", len(segments))
            for segment in segments:
                yield from (Note(recording.id, n) for n in segment.notes)
                yield segment
        self._context.ticks.add("planned", 1)


def _is_segment(element: Any) -> bool:
    return isinstance(element, Segment)


def _is_finding(element: Any) -> bool:
    return not isinstance(element, Segment)


def _with_shard_count(
    split_windows: tuple[str, int], config: Any
) -> tuple[str, int]:
    return split_windows[0], shard_count(split_windows, config)


def _place(
    segment: Segment, counts: dict[str, int]
) -> tuple[tuple[str, int], Segment]:
    """((split, index of the shard), segment), by the segment's hash."""
    index = int(segment.key, 16) % counts[segment.split]
    return (segment.split, index), segment


def _every_shard(split_count: tuple[str, int]):
    split, count = split_count
    return [((split, index), None) for index in range(count)]


def _write_summary(
    context: JobContext, shards: list[ShardResult], findings: list[Any]
) -> None:
    """Merges in the order of the shards, so that every runner agrees."""
    remote.set_file_system_options(context.storage_options)
    shards = sorted(shards, key=lambda s: (s.split, s.index))
    moments = PartialMoments.empty(context.config.stft.bins)
    letters = [f for f in findings if isinstance(f, str)]
    for shard in shards:
        moments.merge(shard.moments)
        letters += shard.dead_letters
    # All segments of an unusable recording give the same letter.
    letters = [json.loads(letter) for letter in sorted(set(letters))]
    copies = sorted(f for f in findings if isinstance(f, Duplicate))
    letters, copies = _with_copies(letters, copies)
    dead = {letter["path"] for letter in letters}
    notes = {f for f in findings if isinstance(f, Note) and f.id not in dead}
    counts = collections.Counter(note.text for note in notes)
    summary = {
        "shards": [_plain(shard) for shard in shards],
        "moments": moments.to_dict(),
        "clipped_share": moments.clipped_share(context.config),
        "histogram": moments.histogram.tolist(),
        "dead_letters": letters,
        "duplicates": [dataclasses.astuple(copy) for copy in copies],
        "notes": dict(sorted(counts.items())),
    }
    path = storage.join(context.root, SUMMARY)
    storage.write_text(path, json.dumps(summary))


def _with_copies(
    letters: list[dict[str, str]], copies: list[Duplicate]
) -> tuple[list[dict[str, str]], list[Duplicate]]:
    """Copies of an unusable recording become dead letters as well."""
    reasons = collections.defaultdict(list)
    for letter in letters:
        reasons[letter["path"]].append(letter)
    result = list(letters)
    for copy in copies:
        result += [
            {**letter, "path": copy.id} for letter in reasons[copy.first]
        ]
    result.sort(key=json.dumps)
    return result, [copy for copy in copies if not reasons[copy.first]]


def _plain(shard: ShardResult) -> dict[str, Any]:
    values = {f.name: getattr(shard, f.name) for f in dataclasses.fields(shard)}
    del values["moments"], values["dead_letters"]
    return values
