"""Curves and previews of a training run, for the report."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from stftgan_tf.errors import UserError
from stftgan_tf.evaluation import charts
from stftgan_tf.metrics import registry
from stftgan_tf.training import metrics_log

# Largest number of previews, and their width in pixels.
_MAX_PREVIEWS, _PREVIEW_WIDTH = 24, 900

# Titles of the charts, and the metrics that each shows.
_LOG_CHARTS = {
    "Losses": ("critic_loss", "generator_loss"),
    "Windows per second": ("windows_per_sec",),
}
_WATCH_CHARTS = {
    "Variety relative to the data": ("diversity_ratio", "nearest_ratio"),
    "Clusters that differ (NDB)": ("ndb",),
    "Coverage and density": ("coverage", "density"),
    "Precision and recall": ("precision", "recall"),
    "Consistency and copies": ("consistency", "memorised"),
    "Frechet distance": ("frechet",),
}


def curves(run: Path, step: int) -> list[tuple[str, bytes]]:
    """Charts of a run's metrics.

    Args:
      run: the run directory.
      step: the exported step, which is marked in each chart.

    Returns:
      (title, SVG) of each chart that has data.

    Raises:
      UserError: if the run has no metrics.
    """
    rows = metrics_log.rows(run)
    if not rows:
        raise UserError(f"{run} contains no metrics of a training")
    watch_rows = [
        {"step": row["step"], **registry.from_watch_row(row)} for row in rows
    ]
    result = []
    for chart_rows, titles in (
        (rows, _LOG_CHARTS),
        (watch_rows, _WATCH_CHARTS),
    ):
        for title, names in titles.items():
            series = _series(chart_rows, names)
            if series:
                result.append((title, charts.curves(series, step)))
    return result


def previews(run: Path) -> list[tuple[int, bytes]]:
    """(step, WebP image) of a run's previews, at most 24 of them."""
    paths = sorted((run / "samples").glob("step-*.png"))
    if len(paths) > _MAX_PREVIEWS:
        rows = np.linspace(0, len(paths) - 1, _MAX_PREVIEWS).astype(int)
        paths = [paths[row] for row in rows]
    result = []
    for path in paths:
        with Image.open(path) as image:
            image.thumbnail((_PREVIEW_WIDTH, 10 * _PREVIEW_WIDTH))
            out = io.BytesIO()
            image.convert("RGB").save(out, format="webp", quality=80)
        step = int(path.stem.partition("-")[2])
        result.append((step, out.getvalue()))
    return result


def _series(
    rows: list[dict[str, float]], names: tuple[str, ...]
) -> dict[str, tuple[list[float], list[float]]]:
    """(steps, values) of each metric that occurs."""
    series = {}
    for name in names:
        points = [(row["step"], row[name]) for row in rows if name in row]
        if points:
            steps, values = zip(*points, strict=True)
            series[name] = (list(steps), list(values))
    return series
