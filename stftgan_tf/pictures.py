"""Windows as pictures."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_COLUMNS = 8


def grid(windows: np.ndarray, titles: Sequence[str] = ()) -> bytes:
    """Windows as spectrograms, eight in a row; time to the right.

    Args:
      windows: float [B, T, F] in [-1, 1].
      titles: one a window, or none.

    Returns:
      A PNG file.
    """
    columns = min(_COLUMNS, len(windows))
    rows = -(-len(windows) // columns)
    # Not pyplot: that would keep a window manager and every figure.
    figure = Figure(figsize=(1.5 * columns, 1.7 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for index, window in enumerate(windows):
        axes[index].imshow(
            window.T, origin="lower", aspect="auto", vmin=-1, vmax=1
        )
        if index < len(titles):
            axes[index].set_title(titles[index], fontsize=8)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=100)
    return out.getvalue()
