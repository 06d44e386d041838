"""Chooses which recordings are held out for the evaluation."""

import dataclasses
import itertools
import math

from pipeline.auto.choice import Choice
from pipeline.auto.survey import Facts, Group
from stftgan_tf.errors import UserError, counted

# With fewer speakers, holding out one takes away too much of the voices.
_MIN_SPEAKERS = 10

# Share that is held out, and its limits in small data.
_EVAL_SHARE, _MIN_EVAL_SHARE, _MAX_EVAL_SHARE = 0.1, 0.05, 0.25
_EVAL_WINDOWS, _EVAL_GROUPS = 50, 2

# Recordings are cut into pieces if there are fewer than this, or if holding out
# one of them would hold out more than this share of the audio.
_MIN_RECORDINGS, _MAX_HELD_OUT = 4, 0.35
_PIECES, _PIECE_SECS, _SHORT_SECS = 20, (4.0, 60.0), 120.0

# Less speech than this gives too few windows to evaluate with.
_MIN_HELD_OUT_SECS = 6.0

# Matches the ids of the pieces that are held out, such as `talk.wav@40.5-59.5`.
PIECES_REGEX = r"@\d+\.5-\d+\.5$"


@dataclasses.dataclass(frozen=True)
class Piece:
    """A part of a recording that is too long to be held out as a whole.

    Attributes:
      start_secs: where it begins.
      end_secs: where it ends; None for the end of the recording.
      held_out: whether it is in the evaluation split.
    """

    start_secs: float
    end_secs: float | None
    held_out: bool


def is_cut(facts: Facts) -> bool:
    """Whether pieces of recordings are held out, instead of whole ones.

    This is necessary if there are too few recordings, or if one of them is so
    long that holding it out would leave little to train on.
    """
    if _knows_speakers(facts):
        return False
    few = len(facts.by_recording) < _MIN_RECORDINGS
    return few or eval_fraction(facts.by_recording, 1000)[1] > _MAX_HELD_OUT


def _knows_speakers(facts: Facts) -> bool:
    known = facts.names.speakers is not None
    return known and len(facts.by_speaker) >= _MIN_SPEAKERS


def eval_fraction(
    groups: tuple[Group, ...], windows: int
) -> tuple[float, float]:
    """The value of `split.eval_fraction`, and the share of audio it holds out.

    It is a tenth, unless that holds out too little to evaluate or too much to
    train.

    Args:
      groups: recordings or speakers by their share.
      windows: of all of them.
    """
    secs = list(itertools.accumulate(group.secs for group in groups))
    # By the number of groups that are held out.
    shares = [0.0, *(part / secs[-1] for part in secs)]
    tenth = sum(group.share < _EVAL_SHARE for group in groups)
    enough = max(_MIN_EVAL_SHARE, _EVAL_WINDOWS / windows)
    if tenth >= _EVAL_GROUPS and enough <= shares[tenth] <= 2 * _EVAL_SHARE:
        return _EVAL_SHARE, shares[tenth]
    target_share = max(
        _EVAL_SHARE, min(_MAX_EVAL_SHARE, _EVAL_WINDOWS / windows)
    )
    count = 1
    while count < len(groups) - 1 and (
        shares[count] < target_share
        or (count < _EVAL_GROUPS and shares[count + 1] <= _MAX_EVAL_SHARE)
    ):
        count += 1
    between = (groups[count - 1].share + groups[count].share) / 2
    return min(0.9, round(between, 4)), shares[count]


def pieces_of(secs: float) -> list[Piece]:
    """Cuts a recording into pieces, some of which are held out.

    Pieces take 4 to 60 s. Every tenth of them is held out, or every fifth in a
    short recording, and half a second on either side of it is not used. Times
    of held-out pieces end in .5 and those of others are whole, so
    `PIECES_REGEX` tells them apart.
    """
    shortest, longest = _PIECE_SECS
    length = math.floor(min(longest, max(shortest, secs / _PIECES)))
    interval = 5 if secs < _SHORT_SECS else 10
    result, start = [], 0.0
    for index in range(4, math.floor(secs / length), interval):
        first = float(index * length)
        last = first + length
        result.append(Piece(start, first, held_out=False))
        result.append(Piece(first + 0.5, last - 0.5, held_out=True))
        start = last
    if secs - start >= 1 or not result:
        result.append(Piece(start, None, held_out=False))
    return result


def choose_split(facts: Facts, windows: int) -> tuple[Choice, float]:
    """How recordings are held out, and the share of the windows."""
    if is_cut(facts):
        return _split_of_pieces(facts)
    if _knows_speakers(facts):
        by, groups = "speaker", facts.by_speaker
        why = "held-out voices are the stricter test"
    else:
        by, groups = "recording", facts.by_recording
        why = "the speakers are unknown, so the same one can be in both splits"
        if facts.names.speakers:
            why = (
                f"{len(facts.names.speakers.values)} speakers are too few to "
                "hold some out, so each of them is in both splits"
            )
    fraction, share = eval_fraction(groups, windows)
    held_out = round(share * windows)
    return (
        Choice(
            "split",
            f"by {by}, about {held_out:,} windows held out",
            why,
            {"split.by": by, "split.eval_fraction": fraction},
        ),
        share,
    )


def _split_of_pieces(facts: Facts) -> tuple[Choice, float]:
    files = len(facts.by_recording)
    if files < facts.recordings:
        raise UserError(
            f"the source lists {facts.recordings} excerpts of "
            f"{counted(files, 'file')}, and all excerpts of a file are in the "
            "same split; add files, or write a config with split.by: regex"
        )
    held_out = [
        piece.end_secs - piece.start_secs
        for group in facts.by_recording
        for piece in pieces_of(group.secs)
        if piece.held_out and piece.end_secs
    ]
    share = sum(held_out) / facts.secs
    if sum(held_out) < _MIN_HELD_OUT_SECS:
        raise UserError(
            f"{facts.secs:.0f} s of audio in {counted(files, 'file')} is too "
            "little to hold out a part for the evaluation; expected at least "
            f"{_MIN_RECORDINGS} files, or 40 s"
        )
    count = "one recording" if facts.recordings == 1 else "few long recordings"
    return (
        Choice(
            "split",
            f"{counted(len(held_out), 'piece')} held out, "
            f"{share:.0%} of the audio",
            f"{count}, so both splits have the same speakers and rooms",
            {"split.by": "regex", "split.eval_regex": PIECES_REGEX},
        ),
        share,
    )
