"""Pictures of windows and of data sets."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

_COLUMNS = 8
_SOFTWARE = "stftgan_tf"
# In every picture of this module, so that no other picture is replaced.
MARK = f"Software\0{_SOFTWARE}".encode()


def grid(
    windows: np.ndarray, secs: float, rate_hz: int, titles: Sequence[str] = ()
) -> bytes:
    """Windows as spectrograms, eight per row; time runs to the right.

    Args:
      windows: float [B, T, F] in [-1, 1].
      secs: duration of a window, for the axis.
      rate_hz: sample rate of the audio, for the axis.
      titles: the titles of the windows; empty for none.

    Returns:
      A PNG file.
    """
    columns = min(_COLUMNS, len(windows))
    rows = -(-len(windows) // columns)
    figure = _figure(1.5 * columns + 0.4, 1.7 * rows + 0.4)
    axes = figure.subplots(rows, columns, squeeze=False)
    _draw(axes, windows, (secs, rate_hz / 2000), titles)
    return _png(figure)


def spectrogram(window: np.ndarray) -> bytes:
    """One window, one pixel per value; low frequencies are at the bottom.

    Args:
      window: float [T, F] in [-1, 1].

    Returns:
      A PNG file.
    """
    values = np.clip((window.T[::-1] + 1) * 127.5, 0, 255)
    image = Image.fromarray(np.uint8(values)).convert("P")
    colours = matplotlib.colormaps["viridis"](np.arange(256))[:, :3]
    image.putpalette(np.uint8(colours * 255).tobytes())
    out = io.BytesIO()
    image.save(out, format="png", optimize=True)
    return out.getvalue()


def data_set(
    windows: np.ndarray,
    hz: np.ndarray,
    secs: float,
    moments: dict[str, Sequence[float]],
    histogram: np.ndarray,
) -> bytes:
    """A picture of a data set: windows, and levels by frequency bin.

    Args:
      windows: float [B, T, F] in [-1, 1].
      hz: centre of each bin [F].
      secs: duration of a window.
      moments: `mean`, `std`, `min` and `max` of log-magnitudes, each [F].
      histogram: counts [F, cells] of the log-magnitudes of each bin, from
        the floor to the maximum.

    Returns:
      A PNG file.
    """
    columns = min(_COLUMNS, len(windows))
    rows = -(-len(windows) // columns)
    figure = _figure(12, 1.7 * rows + 4)
    above, below = figure.subfigures(2, 1, height_ratios=[1.7 * rows, 4])
    axes = above.subplots(rows, columns, squeeze=False)
    _draw(axes, windows, (secs, hz[-1] / 1000))
    levels, counts = below.subplots(1, 2)
    draw_levels(levels, hz, moments)
    levels.set(title="level: mean, standard deviation, range")
    counts.imshow(
        np.log1p(histogram.T),
        origin="lower",
        aspect="auto",
        extent=(hz[0], hz[-1], 0, 1),
    )
    counts.set(
        xlabel="Hz", yticks=[0, 1], title="histogram of each bin (log counts)"
    )
    counts.set_yticklabels(["floor", "max"])
    return _png(figure)


def draw_levels(
    axes: Any,
    hz: np.ndarray,
    moments: dict[str, Sequence[float]],
    colour: str | None = None,
) -> None:
    """Draws mean, standard deviation and range of each bin, in dB.

    Args:
      axes: Matplotlib axes to draw on.
      hz: centre of each bin [F].
      moments: as for `data_set`.
      colour: colour of all lines and areas; None for Matplotlib's default.
    """
    db = {k: 20 / np.log(10) * np.array(v) for k, v in moments.items()}
    mean, std = db["mean"], db["std"]
    axes.fill_between(
        hz, db["min"], db["max"], alpha=0.2, color=colour, label="range"
    )
    axes.fill_between(
        hz,
        mean - std,
        mean + std,
        alpha=0.4,
        color=colour,
        label="+- std",
    )
    axes.plot(hz, mean, color=colour, label="mean")
    axes.set(xlabel="Hz", ylabel="dB", xmargin=0)


def _figure(width: float, height: float) -> Figure:
    # pyplot would keep every figure in memory.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _draw(
    axes: np.ndarray,
    windows: np.ndarray,
    size: tuple[float, float],
    titles: Sequence[str] = (),
) -> None:
    """Draws windows on axes [rows, columns]; the outer ones have labels.

    Args:
      axes: Matplotlib axes.
      windows: float [B, T, F].
      size: seconds and kHz that a window spans.
      titles: the titles of the windows; empty for none.
    """
    secs, khz = size
    columns = axes.shape[1]
    for index, axis in enumerate(axes.ravel()):
        if index >= len(windows):
            axis.axis("off")
            continue
        axis.imshow(
            windows[index].T,
            origin="lower",
            aspect="auto",
            vmin=-1,
            vmax=1,
            extent=(0, secs, 0, khz),
        )
        first, lowest = index % columns == 0, index + columns >= len(windows)
        axis.set(xticks=[0, secs] if lowest else [], yticks=[])
        if lowest:
            # A second zero would touch the label on its left.
            zero = "0" if first else ""
            axis.set_xticklabels([zero, f"{secs:.2g} s"], fontsize=7)
        if first:
            axis.set_yticks([0, khz], ["0", f"{khz:.3g} kHz"], fontsize=7)
        if index < len(titles):
            axis.set_title(titles[index], fontsize=8)


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=100, metadata={"Software": _SOFTWARE})
    return out.getvalue()
