"""Facts of surveys, written by hand."""

import dataclasses

from pipeline.auto.name_patterns import Field, Names
from pipeline.auto.survey import Facts, Group


def groups(count, secs):
    """`count` recordings of equal length, at even places."""
    each = [(i + 0.5) / count for i in range(count)]
    return tuple(Group(share, secs / count) for share in each)


def field(count, by="regex"):
    values = tuple(f"v{i:02d}" for i in range(count))
    return Field(by, values, "names")


WORDS_8K = Facts(
    recordings=3000,
    surveyed=200,
    unusable=0,
    secs=1300.0,
    rates={8000: 1.0},
    bandwidth_hz=4000.0,
    lengths_secs=(0.24, 0.42, 0.68),
    word_secs=0.42,
    stretches=3100,
    kind="words",
    active_share=0.65,
    quiet_fifth_db=(-61.0, -62.0),
    cancelling_share=0.0,
    names=Names(),
    by_recording=groups(3000, 1300.0),
    by_speaker=(),
)

SPEECH_16K = dataclasses.replace(
    WORDS_8K,
    recordings=261,
    secs=2950.0,
    rates={16000: 1.0},
    bandwidth_hz=8000.0,
    lengths_secs=(3.0, 13.0, 16.0),
    word_secs=4.7,
    kind="speech",
    active_share=0.8,
    quiet_fifth_db=(-77.5, -85.2),
    names=Names(speakers=field(207), name_regex="(?P<speaker>x)"),
    by_recording=groups(261, 2950.0),
    by_speaker=groups(207, 2950.0),
)

WORDS_IN_NOISE = dataclasses.replace(
    WORDS_8K,
    recordings=1676,
    secs=4880.0,
    rates={16000: 1.0},
    bandwidth_hz=7800.0,
    lengths_secs=(2.0, 3.1, 3.1),
    word_secs=1.1,
    stretches=1800,
    active_share=0.3,
    quiet_fifth_db=(-72.0, -80.0),
    names=Names(labels=field(6, "folder")),
    by_recording=groups(1676, 4880.0),
)
