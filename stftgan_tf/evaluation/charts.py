"""Charts as SVG files that read on a light page and on a dark one."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from stftgan_tf import pictures

# Told apart by people who cannot tell red from green, on both pages.
COLOURS = {"real": "#3d85c6", "generated": "#e07b1a", "training": "#8b919a"}

# Stands for the page's own text colour until the file is written.
_INK = "#010203"
_STYLE = (
    "<style>:root{color:#1c1e21}"
    "@media(prefers-color-scheme:dark){:root{color:#e4e6ea}}</style>"
)
_SIZE = (5.0, 2.7)


def curves(
    series: dict[str, tuple[Sequence[float], Sequence[float]]],
    marked: float | None = None,
) -> bytes:
    """Lines over training steps.

    Args:
      series: (steps, values) by name.
      marked: a step to point out.
    """

    def draw(axes: Any) -> None:
        for name, (steps, values) in series.items():
            axes.plot(steps, values, label=name, linewidth=1.2)
        if marked is not None:
            axes.axvline(
                marked, color=_INK, linestyle=":", label="exported step"
            )
        axes.set(xlabel="step", xmargin=0)
        _legend(axes)

    return _svg(draw)


def bars(
    names: Sequence[str],
    groups: dict[str, Sequence[float]],
    ylabel: str,
    marked: Sequence[bool] = (),
) -> bytes:
    """Groups of bars side by side, a star over marked places.

    Args:
      names: of the places; none are shown where they are too many to read.
      groups: values at each place, by a name of `COLOURS`.
      ylabel: what the values are.
      marked: one a place, or none.
    """

    def draw(axes: Any) -> None:
        places, width = np.arange(len(names)), 0.8 / len(groups)
        for index, (name, values) in enumerate(groups.items()):
            left = places + (index - (len(groups) - 1) / 2) * width
            colour = COLOURS.get(name)
            axes.bar(left, values, width, label=name, color=colour)
        tops = np.max(list(groups.values()), axis=0)
        for place in np.flatnonzero(marked):
            axes.annotate("*", (place, tops[place]), ha="center", color=_INK)
        longest = max(map(len, names), default=0)
        upright = longest * len(names) < 40
        axes.set(xticks=places, ylabel=ylabel, xmargin=0.01)
        axes.set_xticklabels(names, rotation=0 if upright else 90)
        if len(names) > 30:
            axes.set_xticks([])
        _legend(axes)

    return _svg(draw)


def points(groups: dict[str, np.ndarray]) -> bytes:
    """A map: points float [N, 2] by a name of `COLOURS`."""

    def draw(axes: Any) -> None:
        for name, places in groups.items():
            axes.scatter(
                *places.T,
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
    """Mean, deviation and extremes of each bin, in dB.

    Args:
      hz: centre of each bin [F].
      moments: `mean`, `std`, `min`, `max` of log-magnitudes, each [F].
    """

    def draw(axes: Any) -> None:
        pictures.draw_levels(axes, hz, moments, COLOURS["real"])
        _legend(axes)

    return _svg(draw)


def _legend(axes: Any) -> None:
    """Above the chart, where it hides nothing."""
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
    """A chart that `draw` fills, as an SVG file."""
    look = {
        "svg.fonttype": "none",
        # A label may have any name.
        "text.parse_math": False,
        # The same bytes each time.
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
    with matplotlib.rc_context(look):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        out = io.StringIO()
        figure.savefig(
            out, format="svg", transparent=True, metadata={"Date": None}
        )
    head, tag, rest = out.getvalue().partition("<defs>")
    text = f"{head}{_STYLE}{tag}{rest}".replace(_INK, "currentColor")
    return text.encode()
