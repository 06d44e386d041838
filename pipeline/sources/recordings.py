"""Lists the recordings of a source: a directory, a manifest, TFDS or demo.

The result is a sorted list of `Recording`s, which contain no samples.
"""

import collections
import dataclasses
import fnmatch
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import storage
from pipeline.audio.containers import formats
from pipeline.sources import demo, directory, manifest, tfds
from pipeline.sources import labels as labels_lib
from pipeline.sources.entries import Entry, Listing, excerpt_id, of_files
from stftgan_tf.config import AudioConfig
from stftgan_tf.data.records import UNKNOWN_LABEL
from stftgan_tf.errors import UserError


@dataclasses.dataclass(frozen=True, slots=True)
class Recording:
    """One recording of a source.

    Attributes:
      path: path or URL to read it from.
      name: path relative to the source.
      label: index into the data set's labels, or `UNKNOWN_LABEL`.
      speaker: name of the speaker, or "" if unknown.
      dataset: name of the source.
      start_secs: where an excerpt of the file begins.
      end_secs: where it ends; None for the end of the file.
    """

    path: str
    name: str
    label: int
    speaker: str
    dataset: str
    start_secs: float = 0.0
    end_secs: float | None = None

    @property
    def id(self) -> str:
        """Identifies the recording everywhere.

        It is the name, followed by the times of an excerpt, such as
        `talk.wav@1.5-4` or `talk.wav@10-`.
        """
        return excerpt_id(self.name, self.start_secs, self.end_secs)


@dataclasses.dataclass(frozen=True, order=True, slots=True)
class Duplicate:
    """An entry whose audio another one, the first by name, already has.

    Attributes:
      id: of the entry.
      first: id of the recording that is used instead.
      has_other_label: whether their labels differ.
    """

    id: str
    first: str
    has_other_label: bool


@dataclasses.dataclass(frozen=True)
class Source:
    """The recordings of a source.

    Attributes:
      recordings: sorted by name; each file (or excerpt) occurs once.
      labels: names of the labels, sorted.
      duplicates: entries that were skipped because an earlier entry refers to
        the same file.
      unit: what one entry is: `names`, `rows` or `records`.
      origins: what gives `label` and `speaker`: `manifest`, `regex`, `folder`
        or `none`.
      left_out: number of files that do not count as recordings, by kind.
      warnings: what the user should know.
    """

    recordings: list[Recording]
    labels: list[str]
    duplicates: list[Duplicate] = dataclasses.field(default_factory=list)
    unit: str = "names"
    origins: Mapping[str, str] = dataclasses.field(default_factory=dict)
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)
    warnings: list[str] = dataclasses.field(default_factory=list)


def open_source(
    source: str,
    config: AudioConfig,
    pattern: str = "*",
    tfds_data_dir: str | None = None,
    exclude: Sequence[str] = (),
) -> Source:
    """Lists the recordings of a source.

    Args:
      source: `demo`, a directory or a manifest (.csv, .tsv or .jsonl), either
        of which may be remote, or `tfds:NAME[:CONFIG][:SPLIT]`.
      config: what gives labels and speakers.
      pattern: a glob that relative paths must match.
      tfds_data_dir: directory of the prepared TFDS data sets.
      exclude: globs that relative paths must not match.

    Raises:
      UserError: if the source does not exist, contains no matching audio, is
        an invalid manifest, or cannot give labels as the config asks.
    """
    listing = _list(source, tfds_data_dir)
    if not listing.entries + listing.unreadable:
        extensions = " ".join(formats.readable_extensions())
        left_out = ""
        if listing.left_out:
            left_out = f"; {directory.describe_left_out(listing.left_out)}"
        raise UserError(
            f"source {source} contains no audio ({extensions}){left_out}"
        )
    candidates = labels_lib.assign(listing, config)
    selection = _Selection(pattern, tuple(exclude), config.label_regex)
    matches = [e for e in candidates if selection.takes(e)]
    # Other filters do not apply, because their contents are unknown.
    unreadable = [
        e for e in listing.unreadable if not selection.excludes(f"{e.name}/")
    ]
    if not matches + unreadable:
        raise UserError(_nothing_left(source, candidates, selection))
    return _index(matches + unreadable, listing, selection, config)


def _list(source: str, tfds_data_dir: str | None) -> Listing:
    if source == "demo":
        return demo.list_entries()
    if source.startswith(tfds.PREFIX):
        return tfds.list_entries(source, tfds_data_dir)
    if source.lower().endswith(manifest.EXTENSIONS):
        listing = manifest.read_manifest(source)
        dataset = _dataset_name(os.path.dirname(source))
        return dataclasses.replace(listing, dataset=dataset)
    files = directory.list_files(source)
    return Listing(
        of_files(files.files),
        _dataset_name(source),
        unreadable=of_files(files.unreadable),
        left_out=files.left_out,
    )


class _Selection:
    """Which entries are used; counts the others by what leaves them out."""

    def __init__(self, pattern: str, exclude: tuple[str, ...], labels: str):
        self.pattern, self.exclude, self.label_regex = pattern, exclude, labels
        self.left_out: collections.Counter[str] = collections.Counter()
        self.unused = set(exclude)

    def takes(self, entry: Entry) -> bool:
        """Whether an entry is used."""
        reason = None
        if self.excludes(entry.name):
            reason = "by --exclude"
        # Here `*` also matches slashes.
        elif not fnmatch.fnmatchcase(entry.name, self.pattern):
            reason = "by --pattern"
        elif self.label_regex and not re.fullmatch(
            self.label_regex, entry.label or ""
        ):
            reason = "by audio.label_regex"
        if reason:
            self.left_out[reason] += 1
        return not reason

    def excludes(self, name: str) -> bool:
        """Whether one of the excluded globs matches."""
        matches = [
            glob
            for glob in self.exclude
            if fnmatch.fnmatchcase(name, _excluding(glob))
        ]
        self.unused.difference_update(matches)
        return bool(matches)

    def warnings(self) -> list[str]:
        """Globs that match nothing."""
        warnings = []
        for glob in sorted(self.unused):
            hint = f"; for a folder write '{glob}/*'"
            warnings.append(
                f"--exclude {glob!r} matches no recording"
                f"{'' if re.search('[*/]', glob) else hint}"
            )
        return warnings


def _excluding(glob: str) -> str:
    """A glob for all that a glob of a folder (`backup/`) stands for."""
    return glob.removeprefix("./") + ("*" if glob.endswith("/") else "")


def _nothing_left(
    source: str, candidates: list[Entry], selection: _Selection
) -> str:
    labels = sum(bool(entry.label) for entry in candidates)
    text = (
        f"source {source}: none of {len(candidates)} recordings matches "
        f"--pattern {selection.pattern!r} and audio.label_regex "
        f"{selection.label_regex!r}"
    )
    if selection.exclude:
        text += f", without --exclude {' '.join(selection.exclude)}"
    if selection.label_regex and candidates:
        example = candidates[0].name
        text += (
            f"; {labels} of {len(candidates)} have a label (audio.name_regex "
            f"is searched in names such as {example!r})"
        )
    return text


def is_path(source: str) -> bool:
    """Whether a source is the path of a directory or a manifest."""
    return source != "demo" and not source.startswith(tfds.PREFIX)


def source_name(source: str) -> str:
    """The default name of the data set that is made from a source.

    Examples: `in/digits/` gives `digits`, `lists/digits.csv` gives `digits`,
    `tfds:spoken_digit:train` gives `spoken_digit-train`.
    """
    if not is_path(source):
        return source.removeprefix(tfds.PREFIX).replace(":", "-")
    name = os.path.basename(os.path.abspath(source.rstrip("/")))
    if source.lower().endswith(manifest.EXTENSIONS):
        name = os.path.splitext(name)[0]
    return name


def _dataset_name(path: str) -> str:
    """The name of a data set: the last part of its directory's path."""
    if storage.is_remote(path):
        return path.rstrip("/").rpartition("/")[2]
    return Path(path).resolve().name


def _index(
    matches: list[Entry],
    listing: Listing,
    selection: _Selection,
    config: AudioConfig,
) -> Source:
    """Removes duplicates, and turns labels into indices."""
    matches.sort(key=_order)
    distinct, duplicates = _distinct(matches)
    labels = sorted({entry.label for entry in distinct if entry.label})
    index = {label: i for i, label in enumerate(labels)}
    return Source(
        [_recording(e, index, listing.dataset) for e in distinct],
        labels,
        duplicates,
        unit=listing.unit,
        origins={
            field: labels_lib.origin(field, listing, config)
            for field in labels_lib.KEYS
        },
        left_out=dict(selection.left_out + listing.left_out),
        warnings=listing.warnings + selection.warnings(),
    )


def _distinct(entries: list[Entry]) -> tuple[list[Entry], list[Duplicate]]:
    """The first entry of each file or excerpt; the others as duplicates.

    There may be millions of entries: a hash of each is kept, and only those
    that share theirs are compared.
    """
    hashes = np.fromiter((hash(_audio_key(e)) for e in entries), np.int64)
    values, counts = np.unique(hashes, return_counts=True)
    shared = set(values[counts > 1].tolist())
    distinct, duplicates = [], []
    first_of: dict[Any, Entry] = {}
    for entry, value in zip(entries, hashes, strict=True):
        first = entry
        if value in shared:
            first = first_of.setdefault(_audio_key(entry), entry)
        if first is entry:
            distinct.append(entry)
        else:
            has_other_label = entry.label != first.label
            duplicates.append(Duplicate(entry.id, first.id, has_other_label))
    return distinct, duplicates


def _audio_key(entry: Entry) -> Any:
    """Equal for entries of the same file with the same times."""
    return manifest.file_identity(entry.path), *_order(entry)[1:]


def _recording(entry: Entry, index: dict[str, int], dataset: str) -> Recording:
    return Recording(
        path=entry.path,
        name=entry.name,
        label=index.get(entry.label, UNKNOWN_LABEL),
        speaker=entry.speaker or "",
        dataset=dataset,
        start_secs=entry.start_secs,
        end_secs=entry.end_secs,
    )


def _order(entry: Entry) -> tuple[str, float, float]:
    end = math.inf if entry.end_secs is None else entry.end_secs
    return entry.name, entry.start_secs, end
