"""Windows of the evaluation split that are also training windows."""

import array
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
    """Collects short descriptions of windows, 520 bytes for each."""

    def __init__(self, evaluation_windows: int) -> None:
        self._every = -(-evaluation_windows // _MAX_COMPARED) or 1
        self._seen = 0
        self._names: dict[bytes, int] = {}
        # By split: descriptions float32, and indices of the recordings.
        self._means = {"train": bytearray(), "eval": bytearray()}
        self._owners = {"train": array.array("Q"), "eval": array.array("Q")}

    def add(self, split: str, window: np.ndarray, recording: bytes) -> None:
        """Adds a window of log-magnitudes [T, F]."""
        if split == "eval":
            self._seen += 1
            if self._seen % self._every:
                return
        sums = coarse(window, _TIMES, _BANDS)
        means = np.float32(sums * (sums.size / window.size))
        self._means[split] += means.tobytes()
        index = self._names.setdefault(recording, len(self._names))
        self._owners[split].append(index)

    def result(self) -> Leak:
        """Compares the splits."""
        if not all(self._owners.values()):
            return Leak(len(self._owners["eval"]), [], [])
        train, queries = (
            np.frombuffer(self._means[split], np.float32).reshape(
                len(self._owners[split]), -1
            )
            for split in ("train", "eval")
        )
        nearest = pairwise_distances_argmin_min(queries, train)[0]
        # Exact, unlike the distances of the search.
        difference = np.sqrt(np.square(queries - train[nearest]).mean(axis=1))
        equal = difference <= _EQUAL
        near = ~equal & (difference <= _NEAR * queries.std(axis=1))
        return Leak(
            len(queries),
            self._pairs(nearest, equal),
            self._pairs(nearest, near),
        )

    def _pairs(
        self, nearest: np.ndarray, chosen: np.ndarray
    ) -> list[tuple[str, str]]:
        """Recordings of chosen evaluation windows and of their nearest."""
        names = [os.fsdecode(name) for name in self._names]
        return [
            (
                names[self._owners["eval"][row]],
                names[self._owners["train"][nearest[row]]],
            )
            for row in np.flatnonzero(chosen)
        ]
