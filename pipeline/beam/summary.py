"""Merges the results of the shards and writes them for the driver.

There is a shard for each 64 MB, and the histogram of one takes a quarter of a
megabyte. Therefore no process holds the results of all shards: they are merged
in groups first.
"""

import collections
import dataclasses
import json
from collections.abc import Iterable
from typing import Any

import apache_beam as beam

from pipeline import storage
from pipeline.beam.shards import JobContext, ShardResult
from pipeline.beam.statistics import PartialMoments
from pipeline.sources.recordings import Duplicate

# The file in which the job returns its results to the driver.
SUMMARY = ".summary.json"

# Shards that are merged at a time, in at most 80 MB. Moments are merged group
# by group, so another number would change their last bits.
_GROUP_SHARDS = 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
    """What is wrong with a recording and has been dealt with."""

    id: str
    text: str


@dataclasses.dataclass
class ShardGroup:
    """Consecutive shards of a split.

    Attributes:
      split: `train` or `eval`.
      index: of the group within its split.
      shards: for the manifest: path, records, bytes and sha256 of each.
      silent: number of windows that were dropped.
      frames: as in `ShardResult`, like the remaining attributes.
      gains: number of channels by their gain.
      labels: number of windows of each label.
      speakers: number of windows of each speaker.
      dead_letters: unusable recordings.
      moments: of the training windows.
    """

    split: str
    index: int
    shards: list[dict[str, Any]]
    silent: int
    frames: int
    gains: collections.Counter[float]
    labels: collections.Counter[int]
    speakers: collections.Counter[str]
    dead_letters: set[str]
    moments: PartialMoments


class WriteSummary(beam.PTransform):
    """(Shard results, findings) -> the file `SUMMARY`."""

    def __init__(self, context: JobContext):
        super().__init__()
        self._context = context

    def expand(self, inputs):
        """Builds the transform."""
        shards, findings = inputs
        groups = (
            shards
            | "Group" >> beam.Map(_with_group)
            | "By group" >> beam.GroupByKey()
            | "Merge" >> beam.Map(merge, bins=self._context.config.stft.bins)
        )
        return (
            shards.pipeline
            | "Once" >> beam.Create([self._context])
            | "Summarise"
            >> beam.Map(
                write,
                groups=beam.pvalue.AsList(groups),
                findings=beam.pvalue.AsList(findings),
            )
        )


def _with_group(shard: ShardResult) -> tuple[tuple[str, int], ShardResult]:
    return (shard.split, shard.index // _GROUP_SHARDS), shard


def merge(
    element: tuple[tuple[str, int], Iterable[ShardResult]], bins: int
) -> ShardGroup:
    """((split, index of the group), its shards) -> the group.

    It merges in the order of the shards, so that every runner agrees.
    """
    (split, index), shards = element
    group = ShardGroup(
        split=split,
        index=index,
        shards=[],
        silent=0,
        frames=0,
        gains=collections.Counter(),
        labels=collections.Counter(),
        speakers=collections.Counter(),
        dead_letters=set(),
        moments=PartialMoments.empty(bins),
    )
    for shard in sorted(shards, key=lambda s: s.index):
        group.shards.append(_row(shard))
        group.silent += shard.silent
        group.frames += shard.frames
        group.gains.update(shard.gains)
        group.labels.update(shard.labels)
        group.speakers.update(shard.speakers)
        group.dead_letters.update(shard.dead_letters)
        group.moments.merge(shard.moments)
    return group


def _row(shard: ShardResult) -> dict[str, Any]:
    names = ("path", "records", "bytes", "sha256")
    return {name: getattr(shard, name) for name in names}


def write(
    context: JobContext, groups: list[ShardGroup], findings: list[Any]
) -> None:
    """Writes `SUMMARY`, from all groups and findings."""
    context.set_up_worker()
    groups = sorted(groups, key=lambda g: (g.split, g.index))
    letters = {f for f in findings if isinstance(f, str)}
    # All segments of an unusable recording give the same letter.
    letters.update(*(group.dead_letters for group in groups))
    letters = [json.loads(letter) for letter in sorted(letters)]
    copies = sorted(f for f in findings if isinstance(f, Duplicate))
    letters, copies = _with_copies(letters, copies)
    summary = {
        "shards": [row for group in groups for row in group.shards],
        **_totals(groups),
        **_moments(context, groups),
        "dead_letters": letters,
        "duplicates": [dataclasses.astuple(copy) for copy in copies],
        "notes": _notes(findings, letters),
    }
    path = storage.join(context.root, SUMMARY)
    storage.write_text(path, json.dumps(summary))


def _totals(groups: list[ShardGroup]) -> dict[str, Any]:
    """Counts over all shards; those that depend on the split, by split."""
    gains, silent = collections.Counter(), 0
    splits: dict[str, dict[str, Any]] = {}
    for group in groups:
        silent += group.silent
        gains.update(group.gains)
        split = splits.setdefault(
            group.split,
            {
                "windows": 0,
                "frames": 0,
                "labels": collections.Counter(),
                "speakers": collections.Counter(),
            },
        )
        split["windows"] += sum(row["records"] for row in group.shards)
        split["frames"] += group.frames
        split["labels"].update(group.labels)
        split["speakers"].update(group.speakers)
    return {"splits": splits, "silent": silent, "gains": gains}


def _moments(context: JobContext, groups: list[ShardGroup]) -> dict[str, Any]:
    moments = PartialMoments.empty(context.config.stft.bins)
    for group in groups:
        moments.merge(group.moments)
    return {
        "moments": moments.to_dict(),
        "clipped_share": moments.clipped_share(context.config),
        "histogram": moments.histogram.tolist(),
    }


def _notes(
    findings: list[Any], letters: list[dict[str, str]]
) -> dict[str, int]:
    """How often each note was made about usable recordings."""
    dead = {letter["path"] for letter in letters}
    notes = {f for f in findings if isinstance(f, Note) and f.id not in dead}
    counts = collections.Counter(note.text for note in notes)
    return dict(sorted(counts.items()))


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
