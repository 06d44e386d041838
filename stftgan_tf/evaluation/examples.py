"""The windows of an evaluation that the report shows.

They are stored beside the metrics, as float16 and 16-bit audio, so that the
report need not compute them again. 48 windows of 128 x 128 take about 2.5 MB.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.neighbors import NearestNeighbors

from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import blessing
from stftgan_tf.evaluation.window_metrics import every_nth

# Number of windows of each kind (real, generated), of pairs of each kind (the
# nearest, the first seeds), and of points of each kind on the map.
_WINDOWS, _PAIRS, _POINTS = 16, 4, 500


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows of one origin.

    Attributes:
      windows: float [B, T, F] in [-1, 1].
      labels: int [B], -1 where unknown.
      vectors: float [B, D], the windows in the embedding.
    """

    windows: np.ndarray
    labels: np.ndarray
    vectors: np.ndarray


@dataclasses.dataclass(frozen=True)
class Examples:
    """The part of an evaluation that the report shows.

    There are four groups. `real` windows are spread over all real windows, and
    `generated` ones are the first. `near` and `training` form pairs: a
    generated window and its nearest training window. The pairs with the
    smallest distances come first, then those of the first seeds.

    Attributes:
      windows: float16 [B, T, F] of each group.
      audio: int16 [B, N] of each group.
      labels: int [B] of each group, -1 where unknown.
      rows: int [B] of each group, indices into all windows that were
        compared; for generated windows these are seeds, counted from the
        first one.
      distances: float [P], the distance of each pair in the embedding.
      points: float [B, 2] of `training`, `real` and `generated`, the
        coordinates on the map.
    """

    windows: dict[str, np.ndarray]
    audio: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    rows: dict[str, np.ndarray]
    distances: np.ndarray
    points: dict[str, np.ndarray]

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays, under the names that `load` expects."""
        arrays = {"distances": self.distances}
        for field in _FIELDS:
            for group, array in getattr(self, field).items():
                arrays[f"{field}/{group}"] = array
        return arrays


_FIELDS = ("windows", "audio", "labels", "rows", "points")


def select(
    training: Windows,
    real: Windows,
    generated: Windows,
    generated_audio: Callable[[np.ndarray], np.ndarray],
    to_audio: Callable[[np.ndarray], np.ndarray],
) -> Examples:
    """Chooses the windows to show.

    Args:
      training: windows of the training split.
      real: windows of the evaluation split.
      generated: generated windows.
      generated_audio: audio [B, N] of the generated windows with these
        indices.
      to_audio: converts real windows [B, T, F] to audio [B, N].
    """
    search = NearestNeighbors(n_neighbors=1).fit(training.vectors)
    distances, nearest = (x[:, 0] for x in search.kneighbors(generated.vectors))
    first = np.arange(min(_PAIRS, len(distances)))
    pairs = np.concatenate([np.argsort(distances)[:_PAIRS], first])
    groups = {
        "real": (real, _spread(len(real.windows), _WINDOWS)),
        "generated": (generated, np.arange(len(generated.windows))[:_WINDOWS]),
        "near": (generated, pairs),
        "training": (training, nearest[pairs]),
    }
    points = {"training": training, "real": real, "generated": generated}
    windows = {k: group.windows[rows] for k, (group, rows) in groups.items()}
    return Examples(
        windows={k: np.float16(x) for k, x in windows.items()},
        audio={
            k: _pcm16(
                generated_audio(rows)
                if group is generated
                else to_audio(windows[k])
            )
            for k, (group, rows) in groups.items()
        },
        labels={k: group.labels[rows] for k, (group, rows) in groups.items()},
        rows={k: rows for k, (_, rows) in groups.items()},
        distances=distances[pairs],
        points={
            k: np.float16(every_nth(group.vectors, _POINTS)[:, :2])
            for k, group in points.items()
        },
    )


def load(directory: Path) -> Examples:
    """Reads the examples of an evaluation.

    Raises:
      UserError: if the file is missing or damaged.
    """
    path = directory / blessing.EXAMPLES
    fields: dict[str, dict[str, np.ndarray]] = {name: {} for name in _FIELDS}
    try:
        with np.load(path) as file:
            distances = file["distances"]
            for name in file.files:
                field, _, group = name.partition("/")
                if group:
                    fields[field][group] = file[name]
            return Examples(distances=distances, **fields)
    except FileNotFoundError as error:
        raise UserError(
            f"{directory} was written by an earlier version (no "
            f"{blessing.EXAMPLES}); run python -m stftgan_tf.evaluate again"
        ) from error
    except Exception as error:
        raise UserError(f"{path} is damaged: {error}") from error


def _spread(total: int, count: int) -> np.ndarray:
    """`count` indices below `total`, the first and the last included."""
    return np.linspace(0, total - 1, count).astype(int)


def _pcm16(audio: np.ndarray) -> np.ndarray:
    """Audio float [..., N] in [-1, 1] as 16-bit samples."""
    return np.int16(np.round(32767 * np.clip(audio, -1, 1)))
