"""The Beam transforms from recordings to shards.

Beam moves names, never samples: recordings are split into segments, segments
are grouped by shard, and one DoFn decodes, cuts and writes its shard.
"""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from pipeline.audio.decoder_process import DecoderProcess
from pipeline.audio.errors import AudioError
from pipeline.beam import duplicates
from pipeline.beam import segments as segments_lib
from pipeline.beam.segments import Segment
from pipeline.beam.shards import (
    JobContext,
    WriteShard,
    dead_letter,
    shard_count,
)
from pipeline.beam.summary import Note
from pipeline.sources.recordings import Recording


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
        distinct, copies = recordings | "Drop duplicates" >> drop
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


class _Plan(beam.DoFn):
    """Recording -> its segments and notes, or a dead letter."""

    def __init__(self, context: JobContext):
        self._context, self._config = context, context.config
        self._dead_letters = Metrics.counter("preprocess", "dead_letters")

    def setup(self):
        self._context.set_up_worker()
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


def _every_shard(
    split_count: tuple[str, int],
) -> Iterator[tuple[tuple[str, int], None]]:
    split, count = split_count
    for index in range(count):
        yield (split, index), None
