"""What is held out, by hand-made recordings."""

import dataclasses
import re

import pytest

from pipeline.auto.config import choose_config
from pipeline.auto.document import nested
from pipeline.auto.holdout import (
    PIECES_REGEX,
    eval_fraction,
    is_cut,
    pieces_of,
)
from pipeline.auto.name_patterns import Names
from pipeline.auto.survey import Group
from stftgan_tf.errors import UserError
from tests.pipeline.auto.facts import SPEECH_16K, groups

ALONE = dataclasses.replace(
    SPEECH_16K,
    recordings=1,
    surveyed=1,
    secs=3600.0,
    names=Names(),
    by_recording=(Group(0.4, 3600.0),),
    by_speaker=(),
)


def test_a_tenth_is_held_out_where_that_is_enough():
    assert eval_fraction(groups(100, 1000.0), 5000) == (0.1, 0.1)


def test_small_data_hold_out_two_recordings():
    # Places .05, .15, .25: a tenth of the places is one recording.
    fraction, share = eval_fraction(groups(10, 100.0), 1000)
    assert (fraction, share) == (0.2, 0.2)


def test_small_data_hold_out_up_to_a_quarter():
    fraction, share = eval_fraction(groups(100, 100.0), 100)
    assert (fraction, share) == (0.25, 0.25)


def test_places_decide_and_not_their_number():
    # By chance none of them is among the first tenth of all places.
    late = tuple(Group(0.5 + i / 100, 10.0) for i in range(20))
    fraction, share = eval_fraction(late, 1000)
    assert share == 0.1 and late[1].share < fraction < late[2].share


def test_one_recording_is_cut_into_pieces_with_gaps():
    pieces = pieces_of(3605.2)
    held_out = [p for p in pieces if p.held_out]
    assert [(p.start_secs, p.end_secs) for p in held_out[:2]] == [
        (240.5, 299.5),
        (840.5, 899.5),
    ]
    for before, after in zip(pieces, pieces[1:], strict=False):
        assert after.start_secs == before.end_secs + 0.5
    assert pieces[-1].end_secs is None
    assert pieces[0].start_secs == 0


def test_pieces_are_told_apart_by_their_names():
    pattern = re.compile(PIECES_REGEX)
    assert pattern.search("a.wav@300.5-359.5")
    assert not pattern.search("a.wav@360-900")
    assert not pattern.search("a.wav@3360-")
    assert not pattern.search("a.wav")


@pytest.mark.parametrize("secs", [40.0, 60.0, 130.0, 500.0, 36000.0])
def test_every_length_holds_something_out(secs):
    pieces = pieces_of(secs)
    held_out = [p.end_secs - p.start_secs for p in pieces if p.held_out]
    assert 0.05 < sum(held_out) / secs < 0.2
    assert min(held_out) >= 3 and sum(held_out) >= 6


def test_a_short_recording_stays_whole():
    (piece,) = pieces_of(12.0)
    assert (piece.start_secs, piece.end_secs) == (0.0, None)


def test_one_hour_in_one_file():
    values = nested(choose_config(ALONE, 30.0))
    assert is_cut(ALONE)
    assert values["split"] == {"by": "regex", "eval_regex": PIECES_REGEX}


def test_a_recording_that_is_most_of_the_audio_is_cut():
    even = dataclasses.replace(SPEECH_16K, names=Names(), by_speaker=())
    assert not is_cut(even)
    long = (Group(0.01, 3000.0), *groups(10, 100.0))
    assert is_cut(dataclasses.replace(even, by_recording=long))


def test_too_little_to_hold_a_part_out():
    facts = dataclasses.replace(
        ALONE, secs=20.0, by_recording=(Group(0.4, 20.0),)
    )
    with pytest.raises(UserError, match="20 s of audio in 1 file is too"):
        choose_config(facts, 30.0)


def test_excerpts_of_one_file_cannot_be_split():
    facts = dataclasses.replace(ALONE, recordings=50)
    with pytest.raises(UserError, match="50 excerpts of 1 file, and all"):
        choose_config(facts, 30.0)
