"""Windows of the evaluation split that are also training windows."""

import dataclasses
import os

import numpy as np
from sklearn.metrics import pairwise_distances_argmin_min

from pipeline.quality.labels import coarse

# Windows are compared by their mean log-magnitudes in this many times and
# bands.
_TIMES, _BANDS = 8, 16

# Largest distance of equal windows, which rounding may change (root mean
# square, natural logarithm).
_EQUAL = 1e-4

# Largest distance of near copies, as a share of the window's own variation:
# one recording with other noise or from another codec. Different takes of a
# word by one speaker (FSDD) differ by 12 % and more.
_NEAR = 0.02

# At most this many evaluation windows are compared, spread evenly over all.
_MAX_COMPARED = 2000

# Training windows that are compared at once.
_BLOCK = 2048

_MAX_EXAMPLES = 3


@dataclasses.dataclass(frozen=True)
class Leak:
    """What both splits have in common.

    Attributes:
      compared: number of evaluation windows that were compared.
      equal: (evaluation recording, training recording) of each window that is
        also a training window.
      near: the same for near copies.
    """

    compared: int
    equal: list[tuple[str, str]]
    near: list[tuple[str, str]]

    @property
    def share(self) -> float:
        """Share of the evaluation windows that are also training windows."""
        return len(self.equal) / max(1, self.compared)

    def text(self, pairs: list[tuple[str, str]]) -> str:
        """For example `3 of 300 evaluation windows (1.0 %; a = b, c = d)`."""
        names = [f"{a} = {b}" for a, b in dict.fromkeys(pairs)]
        more = ["..."] if len(names) > _MAX_EXAMPLES else []
        share = 100 * len(pairs) / max(1, self.compared)
        return (
            f"{len(pairs)} of {self.compared} evaluation windows ({share:.1f} "
            f"%; {', '.join(names[:_MAX_EXAMPLES] + more)})"
        )


class LeakSearch:
    """Searches the nearest training window of each evaluation window.

    It compares blocks of training windows and drops them, so that memory does
    not grow with their number.
    """

    def __init__(self, evaluation_windows: int) -> None:
        self._every = -(-evaluation_windows // _MAX_COMPARED) or 1
        self._seen = 0
        # Descriptions [D] and recordings of the evaluation windows that are
        # compared, and of the current block of training windows.
        self._queries = _Windows([], [])
        self._block = _Windows([], [])
        # Of the nearest training window of each of the former.
        self._distances = np.zeros(0)
        self._nearest: list[bytes] = []

    def add(self, split: str, window: np.ndarray, recording: bytes) -> None:
        """Adds a window of log-magnitudes [T, F].

        All evaluation windows must be added before the first training window.
        """
        if split == "eval":
            self._seen += 1
            if self._seen % self._every == 0:
                self._queries.add(window, recording)
        elif self._queries.recordings:
            self._block.add(window, recording)
            if len(self._block.recordings) == _BLOCK:
                self._search()

    def _search(self) -> None:
        """Looks for nearer windows in the block, and empties it."""
        if not self._nearest:
            count = len(self._queries.recordings)
            self._distances = np.full(count, np.inf)
            self._nearest = [b""] * count
        queries, block = self._queries.matrix(), self._block.matrix()
        nearest = pairwise_distances_argmin_min(queries, block)[0]
        # Exact, unlike the distances of the search.
        squares = np.square(queries - block[nearest])
        distances = np.sqrt(squares.mean(axis=1))
        for row in np.flatnonzero(distances < self._distances):
            self._distances[row] = distances[row]
            self._nearest[row] = self._block.recordings[nearest[row]]
        self._block = _Windows([], [])

    def result(self) -> Leak:
        """What the splits have in common."""
        if self._block.recordings:
            self._search()
        compared = len(self._queries.recordings)
        if not self._nearest:
            return Leak(compared, [], [])
        equal = self._distances <= _EQUAL
        variation = self._queries.matrix().std(axis=1)
        near = ~equal & (self._distances <= _NEAR * variation)
        return Leak(compared, self._pairs(equal), self._pairs(near))

    def _pairs(self, chosen: np.ndarray) -> list[tuple[str, str]]:
        """Recordings of chosen evaluation windows and of their nearest."""
        return [
            (
                os.fsdecode(self._queries.recordings[row]),
                os.fsdecode(self._nearest[row]),
            )
            for row in np.flatnonzero(chosen)
        ]


@dataclasses.dataclass
class _Windows:
    """Descriptions float32 [D] of windows, and their recordings."""

    means: list[np.ndarray]
    recordings: list[bytes]

    def add(self, window: np.ndarray, recording: bytes) -> None:
        """Adds a window of log-magnitudes [T, F]."""
        sums = coarse(window, _TIMES, _BANDS)
        means = np.float32(sums * (sums.size / window.size))
        self.means.append(means.ravel())
        self.recordings.append(recording)

    def matrix(self) -> np.ndarray:
        """The descriptions, float32 [W, D]."""
        return np.stack(self.means)
