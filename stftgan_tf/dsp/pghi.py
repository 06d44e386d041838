"""Phase by heap integration: the reference that no graph can hold.

For comparison, and for who makes audio offline; with numba installed it is
compiled.
"""

import heapq

import numpy as np

from stftgan_tf.config import StftConfig
from stftgan_tf.dsp import phase

try:
    from numba import njit
except ImportError:

    def njit(function):
        """Leaves a function as it is."""
        return function


# Bins this far below the largest take no part and keep phase 0.
_TOLERANCE = 1e-6


def integrated(magnitudes: np.ndarray, config: StftConfig) -> np.ndarray:
    """Phase from the gradients that magnitudes imply, strongest bins first.

    Phase gradient heap integration (Prusa et al. 2017, "A Noniterative Method
    for Reconstruction of Phase from STFT Magnitude", algorithm 1). A starting
    point for `phase.griffin_lim`, like `phase.integrated`.

    Args:
      magnitudes: float32 [B, T, F + 1].
      config: frame length, step and window.

    Returns:
      Unit complex64 [B, T, F + 1].
    """
    parts = phase.gradients(magnitudes, config)
    logs, in_time, in_frequency = (np.float64(part) for part in parts)
    phases = np.stack(
        [_row(*row) for row in zip(logs, in_time, in_frequency, strict=True)]
    )
    # Frames are referred to their start, gradients to their middle.
    phases += np.pi * (np.arange(magnitudes.shape[-1]) % 2)
    return np.exp(1j * phases).astype(np.complex64)


@njit
def _row(logs, in_time, in_frequency):
    """Phases [T, F] of one row's log-magnitudes and gradients [T, F]."""
    frames, bins = logs.shape
    phases = np.zeros((frames, bins))
    done = logs < logs.max() + np.log(_TOLERANCE)
    for first in np.argsort(-logs.ravel()):
        if done[first // bins, first % bins]:
            continue
        done[first // bins, first % bins] = True
        heap = [(-logs[first // bins, first % bins], first)]
        while heap:
            place = heapq.heappop(heap)[1]
            t, f = place // bins, place % bins
            for step in (-1, 1):
                other = t + step
                if 0 <= other < frames and not done[other, f]:
                    turn = (in_time[t, f] + in_time[other, f]) / 2
                    phases[other, f] = phases[t, f] + step * turn
                    done[other, f] = True
                    heapq.heappush(heap, (-logs[other, f], other * bins + f))
                other = f + step
                if 0 <= other < bins and not done[t, other]:
                    turn = (in_frequency[t, f] + in_frequency[t, other]) / 2
                    phases[t, other] = phases[t, f] + step * turn
                    done[t, other] = True
                    heapq.heappush(heap, (-logs[t, other], t * bins + other))
    return phases
