"""Finds the stretches of speech in a recording, from its levels.

A sound counts as speech if it exceeds the noise floor of its recording for
longer than a click lasts.
"""

import numpy as np

# Levels are averaged over this many blocks of 10 ms.
_AVERAGED_BLOCKS = 3

# The share of the blocks that are taken for noise, and the largest range
# between the loudest level and the floor that counts.
_FLOOR_PERCENTILE = 15
_MAX_RANGE_DB = 60

# Noise is steady if a range of `_STEADY_BINS` dB contains half of the quiet
# blocks, which are at least `_LOUD_DB` below the loudest one, and a third of
# all blocks. Words in digital silence have fewer similar blocks.
_LOUD_DB, _STEADY_BINS = 8, 7

# Below this range a recording is steady, without speech.
_STEADY_DB = 6.0

# A recording of less than a second is a word if nothing stands out.
_WORD_BLOCKS = 100

# At its loudest and at its ends (hysteresis), speech is at least this far above
# the floor, or half and a quarter of the range if that is less. It is at most
# this far below the loudest speech.
_SPEECH_DB, _EDGE_DB = 12.0, 6.0
_MAX_SPEECH_DB, _MAX_EDGE_DB = 25.0, 35.0

# Bursts of fewer blocks are clicks. Speech has at least this many loud blocks.
_CLICK_BLOCKS, _LOUD_BLOCKS = 5, 8

# Pauses of up to this many blocks, such as the closure of a plosive, belong to
# a stretch. So do this many blocks before and after it.
_PAUSE_BLOCKS, _END_BLOCKS = 30, 4


def stretches(powers: np.ndarray) -> np.ndarray:
    """The stretches of speech.

    Args:
      powers: float32 [B], of blocks of 10 ms (`levels.Levels`).

    Returns:
      int64 [S, 2], the first block of each stretch and the end, increasing;
      they do not overlap.
    """
    levels = _smooth_db(powers)
    top, floor = levels.max(), _floor(levels)
    result = np.zeros((0, 2), int)
    if top - floor > _STEADY_DB:
        result = _stand_out(levels, top, floor)
    if not len(result) and len(levels) < _WORD_BLOCKS:
        return np.array([[0, len(levels)]])
    return result


def _floor(levels: np.ndarray) -> float:
    """The level of the noise, from levels [B].

    It is the level of steady noise if there is any, because digital silence may
    surround the noise; otherwise that of the quietest blocks.
    """
    top = levels.max()
    floor = max(np.percentile(levels, _FLOOR_PERCENTILE), top - _MAX_RANGE_DB)
    bins = np.floor(levels - (top - _MAX_RANGE_DB)).astype(int)
    quiet = bins[(bins >= 0) & (bins < _MAX_RANGE_DB - _LOUD_DB)]
    near = np.convolve(
        np.bincount(quiet, minlength=_STEADY_BINS),
        np.ones(_STEADY_BINS),
        "valid",
    )
    low = int(near.argmax())
    if near[low] <= max(len(quiet) / 2, len(levels) / 3):
        return floor
    return max(floor, top - _MAX_RANGE_DB + low + _STEADY_BINS / 2)


def _stand_out(levels: np.ndarray, top: float, floor: float) -> np.ndarray:
    """The stretches [S, 2] of levels [B] that rise far above the floor."""
    span = top - floor
    speech = max(floor + min(_SPEECH_DB, span / 2), top - _MAX_SPEECH_DB)
    edge = max(floor + min(_EDGE_DB, span / 4), top - _MAX_EDGE_DB)
    bursts = _runs(levels > edge)
    bursts = bursts[bursts[:, 1] - bursts[:, 0] >= _CLICK_BLOCKS]
    joined = _join(bursts, _PAUSE_BLOCKS)
    loud = np.concatenate([[0], (levels > speech).cumsum()])
    joined = joined[loud[joined[:, 1]] - loud[joined[:, 0]] >= _LOUD_BLOCKS]
    padded = joined + [-_END_BLOCKS, _END_BLOCKS]
    return _join(np.clip(padded, 0, len(levels)), 0)


def _smooth_db(powers: np.ndarray) -> np.ndarray:
    """Powers [B] averaged over neighbours, in dB."""
    kernel = np.ones(min(_AVERAGED_BLOCKS, len(powers)), np.float32)
    total = np.convolve(powers, kernel, "same")
    total /= np.convolve(np.ones_like(powers), kernel, "same")
    return 10 * np.log10(np.maximum(total, np.float32(1e-20)))


def _runs(mask: np.ndarray) -> np.ndarray:
    """The runs of true values of a mask [B], int64 [R, 2]."""
    edges = np.flatnonzero(np.diff(np.pad(mask.astype(np.int8), 1)))
    return edges.reshape(-1, 2)


def _join(runs: np.ndarray, gap: int) -> np.ndarray:
    """Joins runs [R, 2] that are at most `gap` apart."""
    if not len(runs):
        return runs
    is_apart = runs[1:, 0] - runs[:-1, 1] > gap
    starts = runs[np.concatenate([[True], is_apart]), 0]
    stops = runs[np.concatenate([is_apart, [True]]), 1]
    return np.stack([starts, stops], axis=1)
