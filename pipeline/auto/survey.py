"""Surveys the recordings of a source: what `config` depends on."""

import collections
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pipeline.audio.decoder_process import DecoderProcess, Request
from pipeline.audio.errors import AudioError
from pipeline.auto import name_patterns
from pipeline.auto.name_patterns import Field, Names
from pipeline.auto.sound import Sound, describe
from pipeline.beam.segments import split_share
from pipeline.sources.recordings import Recording, Source
from stftgan_tf.config import AudioConfig
from stftgan_tf.errors import UserError

# Number of recordings that are analysed; excerpts of each one, and of all of
# them together.
_MAX_SURVEYED = 200
_MIN_EXCERPTS, _MAX_EXCERPTS, _ALL_EXCERPTS = 3, 60, 600

# A single word with the pauses inside it, and how many recordings of words may
# be something else.
_WORD_SECS, _WORDS_SHARE = 1.4, 0.7

# A recording whose level varies less than this, and is longer than this, is a
# texture, such as rain, a machine or a held tone.
_TEXTURE_DB, _TEXTURE_SECS = 9.0, 2.0

# How the survey reads recordings; the rate does not matter to it.
AUDIO = AudioConfig(sample_rate_hz=16000)

_DECODER_TIMEOUT_SECS = 60.0


@dataclasses.dataclass(frozen=True)
class Group:
    """What is held out as a whole: one recording, or all of one speaker.

    Attributes:
      share: its place in [0, 1); those below `split.eval_fraction` are held
        out.
      secs: its length.
    """

    share: float
    secs: float


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a survey measured.

    Attributes:
      recordings: number of recordings.
      surveyed: number of those that were analysed.
      unusable: number of the surveyed ones that cannot be used.
      secs: length of all recordings, estimated from the surveyed ones.
      rates: share of the audio by sample rate in Hz.
      bandwidth_hz: highest frequency that most recordings contain.
      lengths_secs: 5th, 50th and 95th percentile of the recordings' length.
      word_secs: 90th percentile of the length of a stretch of speech.
      stretches: number of stretches of speech in all recordings, estimated.
      kind: `words`, `speech` or `texture`.
      active_share: share of the audio that is not a pause.
      quiet_fifth_db: levels that a fifth of the spectrum is below, for
        frequencies up to 4 and up to 8 kHz, relative to the peak.
      cancelling_share: share of the recordings whose channels cancel.
      names: labels and speakers.
      by_recording: what a split by recording can hold out, by share.
      by_speaker: what a split by speaker can hold out, by share.
    """

    recordings: int
    surveyed: int
    unusable: int
    secs: float
    rates: dict[int, float]
    bandwidth_hz: float
    lengths_secs: tuple[float, float, float]
    word_secs: float
    stretches: int
    kind: str
    active_share: float
    quiet_fifth_db: tuple[float, float]
    cancelling_share: float
    names: Names
    by_recording: tuple[Group, ...]
    by_speaker: tuple[Group, ...]


def survey(open_source: Callable[[AudioConfig], Source]) -> Facts:
    """Analyses some recordings of a source and reads all names.

    Args:
      open_source: lists the recordings for a config.

    Raises:
      UserError: if no recording can be used.
    """
    recordings = open_source(AUDIO).recordings
    chosen = spread(recordings, _MAX_SURVEYED)
    results = _analyse(chosen)
    sounds = [s for s in results if isinstance(s, Sound)]
    if not sounds:
        raise UserError(
            f"none of {len(chosen)} recordings can be used; the first one, "
            f"{chosen[0].id}: {results[0]}"
        )
    names = read_names(open_source, kind_of(sounds) == "words")
    source = open_source(names.applied_to(AUDIO))
    lengths = _lengths(recordings, chosen, results)
    excerpt_secs = sum(s.excerpt_secs for s in sounds)
    stretches = sum(len(s.stretches_secs) for s in sounds)
    return Facts(
        recordings=len(recordings),
        surveyed=len(chosen),
        unusable=len(chosen) - len(sounds),
        secs=sum(lengths),
        stretches=round(stretches / excerpt_secs * sum(lengths)),
        names=names,
        by_recording=_groups(source.recordings, lengths, "recording"),
        by_speaker=_groups(source.recordings, lengths, "speaker"),
        **_figures(sounds),
    )


def _figures(sounds: Sequence[Sound]) -> dict[str, Any]:
    """The facts that are figures of the sounds."""

    def percentiles(name: str, *percents: int) -> tuple[float, ...]:
        values = [getattr(sound, name) for sound in sounds]
        return tuple(np.percentile(values, percents, axis=0).tolist())

    stretches = [secs for s in sounds for secs in s.stretches_secs]
    active = sum(s.active_secs for s in sounds)
    return {
        "rates": _rates(sounds),
        "bandwidth_hz": percentiles("bandwidth_hz", 60)[0],
        "lengths_secs": percentiles("secs", 5, 50, 95),
        "word_secs": float(np.percentile(stretches or [0.0], 90)),
        "kind": kind_of(sounds),
        "active_share": active / sum(s.excerpt_secs for s in sounds),
        "quiet_fifth_db": tuple(percentiles("quiet_fifth_db", 50)[0]),
        "cancelling_share": sum(s.cancels for s in sounds) / len(sounds),
    }


def spread(recordings: Sequence[Recording], count: int) -> list[Recording]:
    """At most `count` recordings, spread evenly over the sorted list."""
    places = np.linspace(0, len(recordings) - 1, min(count, len(recordings)))
    return [recordings[i] for i in places.round().astype(int)]


def fingerprint(source: Source) -> str:
    """Changes when the names or the sizes of the recordings do."""
    rows = [[r.id, _size(r.path)] for r in source.recordings]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:12]


def kind_of(sounds: Sequence[Sound]) -> str:
    """`words`, `speech` or `texture`."""
    steady = [
        s.contrast_db < _TEXTURE_DB and s.secs > _TEXTURE_SECS for s in sounds
    ]
    if np.mean(steady) > 0.5:
        return "texture"
    single = [
        len(s.stretches_secs) <= 2 and s.active_secs <= _WORD_SECS
        for s in sounds
    ]
    if np.mean(single) >= _WORDS_SHARE:
        return "words"
    # Long recordings of words with a pause after each of them.
    stretches = [secs for s in sounds for secs in s.stretches_secs]
    active = sum(s.active_secs for s in sounds)
    pauses = 1 - active / sum(s.excerpt_secs for s in sounds)
    if stretches and np.percentile(stretches, 75) <= 1.0 and pauses > 0.5:
        return "words"
    return "speech"


def _analyse(recordings: Sequence[Recording]) -> list[Sound | AudioError]:
    excerpts = _ALL_EXCERPTS // len(recordings)
    excerpts = min(_MAX_EXCERPTS, max(_MIN_EXCERPTS, excerpts))
    requests = [
        Request(describe, r.path, (excerpts,), r.start_secs, r.end_secs)
        for r in recordings
    ]
    decoder = DecoderProcess(AUDIO, _DECODER_TIMEOUT_SECS)
    try:
        return list(decoder.run_all(requests))
    finally:
        decoder.close()


def read_names(
    open_source: Callable[[AudioConfig], Source], words: bool
) -> Names:
    """Labels and speakers that the source gives, or else its names.

    Args:
      open_source: lists the recordings for a config.
      words: whether the recordings are single words.
    """
    source = open_source(AUDIO)
    speakers = {r.speaker for r in source.recordings if r.speaker}
    values_of = {"labels": source.labels, "speakers": sorted(speakers)}
    fields = {
        name: Field("auto", tuple(values), "the source itself")
        for name, values in values_of.items()
        if values
    }
    if fields:
        return Names(**fields)
    paths = [recording.name for recording in source.recordings]
    return name_patterns.read(paths, words)


def _lengths(
    recordings: Sequence[Recording],
    chosen: Sequence[Recording],
    results: Sequence[Sound | AudioError],
) -> list[float]:
    """The length of each recording; the mean where it was not measured."""
    known = {
        recording.id: result.secs if isinstance(result, Sound) else 0.0
        for recording, result in zip(chosen, results, strict=True)
    }
    mean = float(np.mean(list(known.values())))
    return [known.get(recording.id, mean) for recording in recordings]


def _rates(sounds: Sequence[Sound]) -> dict[int, float]:
    """Share of the audio by sample rate, the largest first."""
    secs: collections.Counter[int] = collections.Counter()
    for sound in sounds:
        secs[sound.rate_hz] += sound.secs
    total = sum(secs.values())
    return {rate: part / total for rate, part in secs.most_common()}


def _groups(
    recordings: Sequence[Recording], lengths: Sequence[float], by: str
) -> tuple[Group, ...]:
    """What a split by speaker or recording can hold out, in its order."""
    secs: collections.Counter[float] = collections.Counter()
    for recording, length in zip(recordings, lengths, strict=True):
        secs[split_share(recording, by)] += length
    return tuple(Group(share, secs[share]) for share in sorted(secs))


def _size(path: str) -> int | None:
    try:
        return os.path.getsize(path)
    except (OSError, ValueError):
        return None
