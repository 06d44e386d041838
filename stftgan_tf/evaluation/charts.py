"""Charts as SVG files, readable on light and on dark pages."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from stftgan_tf import pictures

# Distinguishable with red-green colour blindness and on light and dark pages.
COLOURS = {"real": "#3d85c6", "generated": "#e07b1a", "training": "#8b919a"}

# Placeholder for the text colour of the page, replaced by `_svg`.
_INK = "#010203"
_STYLE = (
    "<style>:root{color:#1c1e21}"
    "@media(prefers-color-scheme:dark){:root{color:#e4e6ea}}</style>"
)
_SIZE = (5.0, 2.7)


def curves(
    series: dict[str, tuple[Sequence[float], Sequence[float]]],
    marked_step: float | None = None,
) -> bytes:
    """Lines over training steps.

    Args:
      series: (steps, values) by name.
      marked_step: a step to mark with a vertical line.
    """

    def draw(axes: Any) -> None:
        for name, (steps, values) in series.items():
            # A single point would be invisible without a marker.
            marker = "." if len(steps) < 10 else ""
            axes.plot(steps, values, marker=marker, label=name, lw=1.2)
        if marked_step is not None:
            axes.axvline(
                marked_step, color=_INK, linestyle=":", label="exported step"
            )
        axes.set(xlabel="step", xmargin=0)
        _legend(axes)

    return _svg(draw)


def bars(
    names: Sequence[str],
    groups: dict[str, Sequence[float]],
    ylabel: str,
    stars: Sequence[bool] = (),
) -> bytes:
    """Groups of bars side by side.

    Args:
      names: names of the positions; more than 30 are not shown.
      groups: values at each position, by a name in `COLOURS`.
      ylabel: label of the vertical axis.
      stars: whether each position gets a star; empty for no stars.
    """

    def draw(axes: Any) -> None:
        positions, width = np.arange(len(names)), 0.8 / len(groups)
        for index, (name, values) in enumerate(groups.items()):
            left = positions + (index - (len(groups) - 1) / 2) * width
            colour = COLOURS.get(name)
            axes.bar(left, values, width, label=name, color=colour)
        tops = np.max(list(groups.values()), axis=0)
        for position in np.flatnonzero(stars):
            top = (position, tops[position])
            axes.annotate("*", top, ha="center", color=_INK)
        longest = max(map(len, names), default=0)
        upright = longest * len(names) < 40
        axes.set(xticks=positions, ylabel=ylabel, xmargin=0.01)
        axes.set_xticklabels(names, rotation=0 if upright else 90)
        if len(names) > 30:
            axes.set_xticks([])
        _legend(axes)

    return _svg(draw)


def points(groups: dict[str, np.ndarray]) -> bytes:
    """A scatter plot of points float [N, 2], by a name in `COLOURS`."""

    def draw(axes: Any) -> None:
        for name, positions in groups.items():
            axes.scatter(
                *positions.T,
                s=7,
                alpha=0.6,
                linewidths=0,
                label=name,
                color=COLOURS.get(name),
            )
        axes.axis("off")
        _legend(axes)

    return _svg(draw, (5.0, 4.0))


def levels(hz: np.ndarray, moments: dict[str, Sequence[float]]) -> bytes:
    """Mean, standard deviation and range of each frequency bin, in dB.

    Args:
      hz: centre of each bin [F].
      moments: `mean`, `std`, `min`, `max` of log-magnitudes, each [F].
    """

    def draw(axes: Any) -> None:
        pictures.draw_levels(axes, hz, moments, COLOURS["real"])
        _legend(axes)

    return _svg(draw)


def _legend(axes: Any) -> None:
    """Draws the legend above the chart, where it covers nothing."""
    axes.legend(
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0,
        ncols=3,
        markerscale=2,
    )


def _svg(
    draw: Callable[[Any], None], size: tuple[float, float] = _SIZE
) -> bytes:
    """An SVG file with the chart that `draw` draws."""
    style = {
        "svg.fonttype": "none",
        # Label names may contain "$".
        "text.parse_math": False,
        # The same chart gives the same bytes.
        "svg.hashsalt": "stftgan",
        "font.size": 9,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        out = io.StringIO()
        figure.savefig(
            out, format="svg", transparent=True, metadata={"Date": None}
        )
    head, tag, rest = out.getvalue().partition("<defs>")
    text = f"{head}{_STYLE}{tag}{rest}".replace(_INK, "currentColor")
    return text.encode()
