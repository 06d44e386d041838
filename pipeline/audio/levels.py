"""Levels of a channel: silence, active level, noise floor.

All follow from the power of blocks of 10 ms, so that a recording of any length
is measured while it streams. The mean of the recording (DC) counts as no
signal: each block's power is taken around its own mean.
"""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from pipeline.audio.errors import AudioError

# Length of a block.
_BLOCK_SECS = 0.01

# Pre-emphasis, 1 - 0.95 z^-d, which weakens rumble and hum below speech; the
# delay d is one sample at this rate.
_EMPHASIS, _EMPHASIS_HZ = 0.95, 16000

# No audio has a larger sum of squares, not even samples of 32-bit integers.
_MAX_SQUARE_SUM = 1e30

# A sound of fewer blocks is a click, which counts as no signal.
_SUSTAINED_BLOCKS = 3

# Below -100 dB of full scale there is nothing but noise, whatever the format.
_MIN_LEVEL = 1e-5

# Dither has an RMS of half a step of its word length, noise shaping raises it
# to about one step. Signals exceed two steps: -84 dB of full scale in 16 bits.
_MIN_STEPS = 2.0

# A muted microphone: steady noise below -75 dB of full scale. Speech and music
# at that level are not steady.
_MIN_STEADY_LEVEL = 10 ** (-75 / 20)
_STEADY_DB = 10.0

# ITU-T P.56 (2011), method B: activity outlasts the signal by 200 ms, and its
# threshold is 15.9 dB below the active level.
_HANGOVER_BLOCKS = 20
_P56_MARGIN = 10 ** (15.9 / 10)

# The noise floor is steady within this range, and at least this far below the
# active level; otherwise a recording has no clear floor.
_FLOOR_BINS = 7
_MIN_RANGE_DB = 15.0
# Blocks this close to the active level are not part of the floor, and those far
# below it are digital silence. The floor has at least the first share of the
# blocks in between and the second share of all blocks: words in digital silence
# have fewer similar blocks.
_NEAR_DB, _FAR_DB = 10, 60
_MIN_QUIET_SHARE, _MIN_SHARE = 0.6, 0.2

# Cells of the histogram of thresholds: 16 in an octave of the power, at most
# 0.27 dB wide, by the highest bits of a float32. They cover 60 dB.
_CELL_BITS, _CELLS = 19, 320

# Blocks that are processed at once.
_PART_BLOCKS = 1 << 16

# A power that stands for zero: -200 dB.
_ZERO = 1e-20


@dataclasses.dataclass(frozen=True)
class Levels:
    """Levels of one channel of a recording.

    Attributes:
      step: samples in a block; the last block may have fewer.
      count: samples in the recording.
      mean: of all samples.
      rms: root mean square around the mean.
      peak: largest absolute deviation from the mean.
      peaks: float32 [B], that of each block; empty if not requested.
      powers: float32 [B], mean square around each block's own mean.
      emphasised: float32 [B], the same after pre-emphasis; empty if not
        requested.
    """

    step: int
    count: int
    mean: float
    rms: float
    peak: float
    peaks: np.ndarray
    powers: np.ndarray
    emphasised: np.ndarray


class Meter:
    """Accumulates the levels of one channel.

    Args:
      rate_hz: sample rate.
      emphasise: whether levels after pre-emphasis are needed.
      keep_peaks: whether the peak of each block is needed.
    """

    def __init__(
        self, rate_hz: int, emphasise: bool = False, keep_peaks: bool = False
    ):
        self.step = max(1, round(_BLOCK_SECS * rate_hz))
        self._delay = max(1, round(rate_hz / _EMPHASIS_HZ)) * emphasise
        self._keep_peaks = keep_peaks
        self.count, self._sum, self._square_sum = 0, 0.0, 0.0
        self._low, self._high = math.inf, -math.inf
        self._parts: list[tuple[np.ndarray, ...]] = []

    def add(self, samples: np.ndarray) -> float:
        """Adds samples [N]; only the last call may end within a block.

        Returns:
          Their sustained level (`sustained`).

        Raises:
          AudioError: if a sample is not finite.
        """
        if not len(samples):
            return 0.0
        starts = np.arange(0, len(samples), self.step)
        sizes = np.full(len(starts), self.step)
        sizes[-1] = len(samples) - starts[-1]
        wide = samples.astype(np.float64)
        # Not BLAS, whose rounding depends on the number of threads.
        sums = np.add.reduceat(wide, starts)
        np.square(wide, out=wide)
        squares = np.add.reduceat(wide, starts)
        square_sum = float(squares.sum())
        if not square_sum < _MAX_SQUARE_SUM:
            raise AudioError(
                "not finite: NaN, infinity or absurd values among samples"
            )
        self.count += len(samples)
        self._sum += float(sums.sum())
        self._square_sum += square_sum
        powers = squares / sizes - np.square(sums / sizes)
        powers = np.maximum(powers, 0, dtype=np.float32, casting="same_kind")
        self._low = min(self._low, float(samples.min()))
        self._high = max(self._high, float(samples.max()))
        emphasised = self._emphasised(samples, starts, sizes)
        ends = self._ends(samples, starts)
        self._parts.append((powers, emphasised, *ends))
        return sustained(powers)

    def _ends(
        self, samples: np.ndarray, starts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The smallest and largest sample of each block, float32 [B]."""
        if not self._keep_peaks:
            return np.zeros(0, np.float32), np.zeros(0, np.float32)
        low = np.minimum.reduceat(samples, starts)
        return low, np.maximum.reduceat(samples, starts)

    def _emphasised(
        self, samples: np.ndarray, starts: np.ndarray, sizes: np.ndarray
    ) -> np.ndarray:
        """Power of blocks after pre-emphasis, float32 [B]."""
        delay = self._delay
        if not delay:
            return np.zeros(0, np.float32)
        high = samples.copy()
        high[delay:] -= np.float32(_EMPHASIS) * samples[:-delay]
        # Not across blocks, so that they can be added in any portions.
        edges = starts + np.arange(delay)[:, None]
        high[edges[edges < len(high)]] = 0
        sums = np.add.reduceat(high, starts) / sizes
        powers = np.add.reduceat(np.square(high), starts) / sizes
        return np.maximum(powers - np.square(sums), 0).astype(np.float32)

    def levels(self) -> Levels:
        """The levels of all samples, at least one."""
        parts = map(np.concatenate, zip(*self._parts, strict=True))
        powers, emphasised, low, high = parts
        mean = self._sum / self.count
        power = self._square_sum / self.count - mean**2
        return Levels(
            step=self.step,
            count=self.count,
            mean=mean,
            rms=math.sqrt(max(0.0, power)),
            peak=max(self._high - mean, mean - self._low),
            peaks=np.maximum(high - np.float32(mean), np.float32(mean) - low),
            powers=powers,
            emphasised=emphasised,
        )


class WordLength:
    """Finds the step between the values of samples, from the samples.

    So 16-bit audio is known in every container, also as 24 bits or floats.
    """

    def __init__(self):
        self._bits, self._is_fine = 0, False

    def add(self, samples: np.ndarray) -> None:
        """Adds samples of any shape, float32 in [-1, 1]."""
        scaled = samples * np.float32(1 << 23)
        # Numbers that are too large are fine: they differ from all integers.
        with np.errstate(invalid="ignore"):
            whole = scaled.astype(np.int32)
        self._is_fine |= bool((scaled != whole).any())
        self._bits |= int(np.bitwise_or.reduce(whole, axis=None))

    @property
    def step(self) -> float:
        """The step, in full scales: 2**-15 for 16 bits; 0 if unknown."""
        if self._is_fine or not self._bits:
            return 0.0
        return (self._bits & -self._bits) / (1 << 23)


def sustained(powers: np.ndarray) -> float:
    """The level [RMS] that is exceeded for 3 blocks in a row, anywhere."""
    return math.sqrt(max(float(_eroded(p).max()) for p in _parts(powers, 2)))


def silence(levels: Levels, step: float) -> str:
    """Why nothing is audible; empty if something is.

    Args:
      levels: of a channel.
      step: of the word length, in full scales; 0 if unknown.
    """
    loudest = sustained(levels.powers)
    if loudest < max(_MIN_LEVEL, _MIN_STEPS * step):
        if levels.peak > max(_MIN_LEVEL, 4 * _MIN_STEPS * step):
            return "nothing but clicks of less than 30 ms"
        if loudest < _MIN_LEVEL:
            return "constant, or nothing above -100 dB of full scale"
        bits = 1 - round(math.log2(step))
        return f"nothing above the rounding noise of {bits} bits"
    if loudest < _MIN_STEADY_LEVEL:
        # Digital silence before, after or between the noise is no floor.
        powers = levels.powers[levels.powers >= _MIN_LEVEL**2]
        floor = math.sqrt(np.percentile(powers, 10))
        if loudest < floor * 10 ** (_STEADY_DB / 20):
            return "no signal above steady noise of less than -75 dB (muted?)"
    return ""


def active_level(powers: np.ndarray) -> float:
    """The RMS of the active parts, after ITU-T P.56, method B.

    Only sustained signals are active, so clicks do not count.

    Args:
      powers: float32 [B], of the blocks.
    """
    # A block is active from a threshold on if 3 blocks in a row, of which it is
    # one or which end at most 200 ms before it, exceed the threshold.
    reach = _SUSTAINED_BLOCKS + _HANGOVER_BLOCKS
    counts, energy = np.zeros(_CELLS), np.zeros(_CELLS)
    top, done = _cell(np.float32(sustained(powers) ** 2)), 0
    for part in _parts(powers, reach - 1):
        peaks = _latest_max(_eroded(part), reach, len(part))
        fresh = slice(min(done, reach - 1), None)
        # Cell 0 contains the highest powers, the last cell all low ones.
        cells = np.minimum(top - _cell(peaks[fresh]), _CELLS - 1)
        counts += np.bincount(cells, minlength=_CELLS)
        energy += np.bincount(cells, part[fresh], _CELLS)
        done += len(cells)
    means = energy.cumsum() / counts.cumsum()
    edges = (top - np.arange(_CELLS, dtype=np.int32)) << _CELL_BITS
    is_far = means >= edges.view(np.float32) * _P56_MARGIN
    index = int(is_far.argmax()) if is_far.any() else -1
    return math.sqrt(means[index])


def noise_floor(powers: np.ndarray, active: float) -> float:
    """The RMS of the steady noise between the active parts; 0 if there is none.

    Args:
      powers: float32 [B], of the blocks.
      active: the active level.
    """
    least = _MIN_SHARE * len(powers)
    if np.count_nonzero(powers < active**2 / 10) < least:
        return 0.0
    top = math.floor(20 * math.log10(active)) - _NEAR_DB
    bottom = top - _FAR_DB
    counts, energy = np.zeros(_FAR_DB), np.zeros(_FAR_DB)
    for part in _parts(powers):
        levels = 10 * np.log10(np.maximum(part, _ZERO))
        is_quiet = (levels >= bottom) & (levels < top)
        bins = np.floor(levels[is_quiet]).astype(int) - bottom
        counts += np.bincount(bins, minlength=_FAR_DB)
        energy += np.bincount(bins, part[is_quiet], _FAR_DB)
    near = np.convolve(counts, np.ones(_FLOOR_BINS), "valid")
    low = int(near.argmax())
    if near[low] < max(_MIN_QUIET_SHARE * counts.sum(), least):
        return 0.0
    power = energy[low : low + _FLOOR_BINS].sum() / near[low]
    if 10 * math.log10(power) > 20 * math.log10(active) - _MIN_RANGE_DB:
        return 0.0
    return math.sqrt(power)


def _parts(powers: np.ndarray, overlap: int = 0) -> Iterator[np.ndarray]:
    """Views of powers [B], so that temporary arrays are small.

    Each part begins with the last `overlap` blocks of the one before it.
    """
    for start in range(0, len(powers), _PART_BLOCKS):
        yield powers[max(0, start - overlap) : start + _PART_BLOCKS]


def _cell(powers: np.ndarray) -> np.ndarray:
    """The cell of each power in a logarithmic histogram, int32 [B]."""
    # The bits of a float are roughly its logarithm.
    return powers.view(np.int32) >> _CELL_BITS


def _eroded(powers: np.ndarray) -> np.ndarray:
    """The minimum of each 3 neighbouring blocks, [B - 2].

    A recording of up to 3 blocks has one value, its maximum.
    """
    if len(powers) <= _SUSTAINED_BLOCKS:
        return powers.max(keepdims=True)
    return np.minimum(np.minimum(powers[:-2], powers[1:-1]), powers[2:])


def _latest_max(values: np.ndarray, size: int, count: int) -> np.ndarray:
    """Entry i [count] is the largest of the `size` values that end at i."""
    padded = np.zeros(size - 1 + count, values.dtype)
    padded[size - 1 :][: len(values)] = values
    width = 1
    while width < size:
        # Two overlapping maxima of `width` values cover up to twice as many.
        shift = min(width, size - width)
        padded = np.maximum(padded[:-shift], padded[shift:])
        width += shift
    return padded
