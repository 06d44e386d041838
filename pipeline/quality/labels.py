"""Whether the labels of a data set have to do with what is in its windows."""

from typing import Any

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from pipeline import storage
from pipeline.quality.data_set import is_in_split
from stftgan_tf.data import records

# Training windows that are searched, and evaluation windows that are looked up.
_TRAINING, _EVALUATION = 4000, 1000

# Size of the coarse window that is compared: sums over times and bands.
_TIMES, _BANDS = 8, 16

_NEIGHBOURS = 5


def recognition(
    root: str, manifest: dict[str, Any]
) -> tuple[float, float] | None:
    """How often the nearest training windows have an evaluation window's label.

    Coarse spectrograms are enough to recognise words far more often than
    chance, and shuffled labels never.

    Returns:
      (share, chance), where chance is the share of the most frequent label;
      None if there are too few labelled windows.
    """
    train, labels = _coarse_windows(root, manifest, "train", _TRAINING)
    queries, expected = _coarse_windows(root, manifest, "eval", _EVALUATION)
    if len(train) < _NEIGHBOURS or not len(queries):
        return None
    classifier = KNeighborsClassifier(_NEIGHBOURS).fit(train, labels)
    share = float((classifier.predict(queries) == expected).mean())
    frequencies = np.bincount(labels) / len(labels)
    return share, float(frequencies.max())


def _coarse_windows(
    root: str, manifest: dict[str, Any], split: str, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """About `count` labelled windows [N, D], spread evenly; labels [N]."""
    config = manifest["config"]
    frames = config["window"]["frames"]
    bins = config["stft"]["frame_length"] // 2
    every = max(1, manifest["windows"][split] // count)
    windows, labels, index = [], [], 0
    for shard in manifest["shards"]:
        if not shard["bytes"] or not is_in_split(shard, split):
            continue
        with storage.open_input(storage.join(root, shard["path"])) as file:
            for data in records.read_records(file):
                index += 1
                record = records.decode(data) if index % every == 0 else None
                if record is None or record["label"] < 0:
                    continue
                window = record["window"].reshape(frames, bins)
                windows.append(coarse(window, _TIMES, _BANDS).ravel())
                labels.append(record["label"])
    return np.array(windows), np.array(labels, np.int64)


def coarse(window: np.ndarray, times: int, bands: int) -> np.ndarray:
    """Sums of a window [T, F] over times and bands, at most [times, bands]."""
    for axis, count in enumerate((times, bands)):
        size = window.shape[axis]
        starts = np.linspace(0, size, min(count, size) + 1).astype(int)[:-1]
        window = np.add.reduceat(window, starts, axis=axis)
    return window
